//! The chatter: messages posted on records.

use super::base::vals;
use crate::exception::Outcome;
use crate::orm::env::Env;
use crate::orm::field::{char, html, integer, selection};
use crate::orm::method::{Arguments, Method};
use crate::orm::model::{Model, registry};
use serde_json::{Value as Json, json};

pub(super) fn models() -> Vec<Model> {
    vec![
        Model::new(
            "mail.message",
            "Message",
            vec![
                char("subject", "Subject"),
                html("body", "Contents"),
                char("model", "Related Document Model"),
                integer("res_id", "Related Document ID"),
                selection(
                    "message_type",
                    "Type",
                    &[
                        ("comment", "Comment"),
                        ("notification", "System notification"),
                    ],
                ),
            ],
        )
        .rec_name("subject")
        .order("id desc"),
    ]
}

/// `message_post`, for models that have a chatter.
pub(super) const MESSAGE_POST: Method = Method {
    name: "message_post",
    on_model: false,
    parameters: &["body?", "subject?", "message_type?"],
    open: true,
    run: message_post,
};

fn message_post(
    env: &mut Env,
    model: &'static Model,
    ids: &[i64],
    arguments: &Arguments,
) -> Outcome<Option<Json>> {
    env.check_exist(model, ids)?;
    let mut posted = vec![];
    for id in ids {
        let kind = arguments
            .get("message_type")
            .as_str()
            .unwrap_or("notification")
            .to_owned();
        let message = vals(json!({
            "subject": arguments.get("subject"), "body": arguments.get("body"), "model": model.name, "res_id": id,
            "message_type": kind,
        }));
        posted.extend(env.create(registry().model("mail.message"), &[message])?);
    }
    Ok(Some(json!(posted)))
}
