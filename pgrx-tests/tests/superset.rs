//! The dashboard of `superset/`, in a real Superset, looked at in a real browser.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headless_chrome::protocol::cdp::Page::{CaptureScreenshotFormatOption, Viewport};
use headless_chrome::{Browser, LaunchOptions, Tab};
use pg_etl_tests::prelude::*;
use xtask::{demo, superset};

/// How long a page with all of its charts may take.
const PATIENT: Duration = Duration::from_secs(90);

/// Wide as a screen, and so high that every chart is in sight: Superset draws no others.
const WINDOW: (u32, u32) = (1500, 3600);

/// What is seen of each chart: its title; whether it still loads, shows an error or that it has no data; whether it drew something.
const CHARTS: &str = r#"JSON.stringify([...document.querySelectorAll('.dashboard-component-chart-holder')].map(chart => ({
    title: chart.querySelector('[data-test="slice-header"]')?.innerText.split('\n')[0],
    loading: !!chart.querySelector('.loading, [data-test="loading-indicator"]'),
    problem: chart.querySelector('[role="alert"], .ant-alert, .ant-empty, .missing-chart-container')?.innerText ?? null,
    drawn: !!chart.querySelector('canvas, tbody td, .superset-legacy-chart-big-number .header-line')})))"#;

/// A Superset and the demo's cluster beside it; what did not run before is stopped in the end.
struct Started {
    superset: superset::Standing,
    demo_ran: bool,
}

impl Started {
    fn new() -> Self {
        let demo_ran = demo::find().expect("what is known of the demo").is_some();
        superset::stop().expect("the end of another Superset");
        let version = xtask::suite::pg_under_test().expect("a version");
        Self {
            superset: superset::start(version, None).expect("a Superset"),
            demo_ran,
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        superset::stop().expect("the end of Superset");
        if !self.demo_ran {
            demo::stop().expect("the end of the demo");
        }
    }
}

/// What the charts' queries answered: by the number of the chart.
type Answers = Arc<Mutex<BTreeMap<u64, Value>>>;

struct Dashboard {
    tab: Arc<Tab>,
    answers: Answers,
    url: String,
    _browser: Browser,
}

impl Dashboard {
    /// Logs in with the form, as a person does.
    fn open(superset: &superset::Standing) -> Self {
        let quiet = [
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ];
        let options = LaunchOptions::default_builder()
            // Chromium's sandbox is not for root.
            .sandbox(!nix::unistd::Uid::effective().is_root())
            .window_size(Some(WINDOW))
            .idle_browser_timeout(PATIENT * 2)
            .args(quiet.iter().map(OsStr::new).collect())
            .build()
            .expect("options");
        let browser = Browser::new(options).expect("a browser");
        let tab = browser.new_tab().expect("a tab");
        tab.set_default_timeout(PATIENT);
        let answers = Answers::default();
        let heard = Arc::clone(&answers);
        let listening = tab.register_response_handling(
            "charts",
            Box::new(move |response, body| {
                if let Some(chart) = chart_of(&response.response.url) {
                    let text = body().map(|body| body.body).unwrap_or_default();
                    let answer = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    heard.lock().expect("the answers").insert(chart, answer);
                }
            }),
        );
        listening.expect("to hear of responses");
        let login = format!(
            "{}/login/",
            superset.url.split("/superset/").next().expect("an address")
        );
        tab.navigate_to(&login).expect("the page of the login");
        for (field, text) in [
            ("username", &superset.login),
            ("password", &superset.password),
        ] {
            let input = tab
                .wait_for_element(&format!("input#{field}"))
                .expect(field);
            input.click().expect("a click");
            tab.type_str(text).expect("typing");
        }
        tab.press_key("Enter").expect("the login");
        tab.wait_for_element("nav, [data-test=\"navbar-top\"], .main-nav")
            .expect("the first page");
        Self {
            tab,
            answers,
            url: superset.url.clone(),
            _browser: browser,
        }
    }

    /// Shows the dashboard, with what stands in the address after it, until every chart is drawn. Gives what is seen of each.
    fn show(&self, more: &str, charts: usize) -> Vec<Value> {
        self.answers.lock().expect("the answers").clear();
        self.tab
            .navigate_to(&format!("{}{more}", self.url))
            .expect("the dashboard");
        let mut seen = Vec::new();
        eventually(PATIENT, "every chart to be drawn", || {
            let evaluated = self.tab.evaluate(CHARTS, false);
            let said = evaluated.ok().and_then(|it| it.value).unwrap_or_default();
            seen = serde_json::from_str(said.as_str().unwrap_or("[]")).expect("JSON");
            let still = |chart: &Value| {
                chart["loading"] == true || chart["drawn"] == false && chart["problem"].is_null()
            };
            let heard = self.answers.lock().expect("the answers").len();
            seen.len() == charts && heard >= charts && !seen.iter().any(still)
        });
        seen
    }

    fn answers(&self) -> BTreeMap<u64, Value> {
        self.answers.lock().expect("the answers").clone()
    }

    /// All of the page that has something in it.
    fn picture(&self) -> Vec<u8> {
        let bottom = self.tab.evaluate(
            "Math.ceil(Math.max(...[...document.querySelectorAll('.dashboard-component-chart-holder')].map(chart => chart.getBoundingClientRect().bottom))) + 16",
            false,
        );
        let height = bottom.ok().and_then(|it| it.value).unwrap_or_default();
        let clip = Viewport {
            x: 0.0,
            y: 0.0,
            width: f64::from(WINDOW.0),
            height: height.as_f64().expect("a height"),
            scale: 1.0,
        };
        self.tab
            .capture_screenshot(CaptureScreenshotFormatOption::Png, None, Some(clip), true)
            .expect("a picture")
    }
}

/// The number of the chart whose data is asked for at this address.
fn chart_of(url: &str) -> Option<u64> {
    let (_, form) = url.split_once("/api/v1/chart/data?form_data=")?;
    let digits = form.split("slice_id%22%3A").nth(1)?;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    digits[..end].parse().ok()
}

/// What a chart's query gave: rows, or why not.
fn rows(answer: &Value) -> Result<Vec<Value>, String> {
    let result = &answer["result"][0];
    if !result["error"].is_null() {
        return Err(result["error"].to_string());
    }
    match result["data"].as_array() {
        Some(rows) => Ok(rows.clone()),
        None => Err(answer.to_string()),
    }
}

/// One filter with one value, as Superset writes it into an address.
fn filtered(name: &str, value: &str) -> String {
    format!(
        "?native_filters=(NATIVE_FILTER-{name}:(__cache:(),extraFormData:(filters:!((col:{name},op:IN,val:!({value})))),filterState:(value:!({value})),id:NATIVE_FILTER-{name},ownState:()))"
    )
}

#[test]
fn every_chart_has_data_and_the_filters_filter() {
    let started = Started::new();
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../superset/pg_etl/charts");
    let charts = std::fs::read_dir(bundle).expect("the bundle").count();
    let dashboard = Dashboard::open(&started.superset);

    let seen = dashboard.show("", charts);
    let troubled: Vec<&Value> = seen
        .iter()
        .filter(|chart| !chart["problem"].is_null() || chart["drawn"] == false)
        .collect();
    assert!(troubled.is_empty(), "{troubled:#?}");
    let answers = dashboard.answers();
    for (chart, answer) in &answers {
        let rows = rows(answer).unwrap_or_else(|error| panic!("chart {chart}: {error}"));
        assert!(!rows.is_empty(), "chart {chart} has no data: {answer}");
    }
    let picture = xtask::place::target().join("dashboard.png");
    std::fs::write(&picture, dashboard.picture()).expect("the picture is kept");
    println!("the picture of it: {}", picture.display());

    let models = |answers: &BTreeMap<u64, Value>| -> Vec<String> {
        let rows = answers
            .values()
            .flat_map(|answer| rows(answer).expect("rows"));
        let mut models: Vec<String> = rows
            .filter_map(|row| row["model"].as_str().map(str::to_owned))
            .collect();
        models.sort();
        models.dedup();
        models
    };
    assert!(models(&answers).len() > 1, "{:?}", models(&answers));
    dashboard.show(&filtered("model", "sale.order"), charts);
    assert_eq!(models(&dashboard.answers()), ["sale.order"]);
    let nowhere = dashboard.show(&filtered("connection", "nowhere"), charts);
    assert_eq!(models(&dashboard.answers()), Vec::<String>::new());
    // Which shows that this test would see a chart without data.
    let empty = nowhere
        .iter()
        .filter(|chart| !chart["problem"].is_null())
        .count();
    assert!(empty > 5, "{nowhere:#?}");
}
