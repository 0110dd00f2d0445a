//! Odoo's tables about itself: external ids, models, modules.

use crate::exception::Outcome;
use crate::orm::env::Env;
use crate::orm::field::{boolean, char, integer, selection};
use crate::orm::method::Arguments;
use crate::orm::model::{Hooks, Model, Row, registry};
use crate::orm::web::method;
use serde_json::Value as Json;

pub(super) fn models() -> Vec<Model> {
    vec![
        Model::new(
            "ir.model.data",
            "Model Data",
            vec![
                char("name", "External Identifier").required(),
                char("complete_name", "Complete ID").computed(),
                char("model", "Model Name").required(),
                char("module", "Module").required(),
                integer("res_id", "Record ID"),
                boolean("noupdate", "Non Updatable"),
                char("reference", "Reference").computed(),
            ],
        )
        .order("module, model, name")
        .methods(vec![method!(
            "check_object_reference",
            model,
            ["module", "xml_id", "raise_on_access_error?"],
            reference
        )])
        .hooks(Hooks {
            compute: Some(computed),
            ..Hooks::default()
        }),
        Model::new(
            "ir.model",
            "Models",
            vec![
                char("name", "Model Description").required(),
                char("model", "Model").required(),
            ],
        )
        .order("model"),
        Model::new(
            "ir.module.module",
            "Module",
            vec![
                char("name", "Technical Name").required().readonly(),
                char("latest_version", "Installed Version").readonly(),
                selection(
                    "state",
                    "Status",
                    &[("uninstalled", "Not Installed"), ("installed", "Installed")],
                )
                .readonly(),
            ],
        )
        .order("name"),
    ]
}

fn reference(
    env: &mut Env,
    _: &'static Model,
    _: &[i64],
    arguments: &Arguments,
) -> Outcome<Option<Json>> {
    env.check_object_reference(arguments.text("module"), arguments.text("xml_id"))
        .map(Some)
}

fn computed(_: &Env, _: i64, row: &Row, field: &str) -> Json {
    let model = registry().model("ir.model.data");
    let text = |name: &str| row[model.at(name)].as_str().unwrap_or_default();
    match field {
        "complete_name" => format!("{}.{}", text("module"), text("name")).into(),
        _ => format!("{},{}", text("model"), row[model.at("res_id")].to_json()).into(),
    }
}
