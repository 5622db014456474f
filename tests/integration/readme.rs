//! What the README shows is what a new user sees.

use axum::http::Method;
use serde_json::Value;

use crate::support::serving::Serving;

const README: &str = include_str!("../../README.md");

/// A `curl` of the README, and the answer that stands under it.
#[derive(Debug)]
struct Example {
    path: String,
    body: String,
    answer: Value,
}

/// The examples between the markers.
fn examples() -> Vec<Example> {
    let begun = README
        .split_once("<!-- curl examples: begin -->")
        .expect("the examples have a begin")
        .1;
    let section = begun
        .split_once("<!-- curl examples: end -->")
        .expect("the examples have an end")
        .0;
    section.split("$ curl ").skip(1).map(example).collect()
}

/// `localhost:8080/PATH … -d 'BODY'`, over one line or several, and then the answer.
fn example(text: &str) -> Example {
    let address = text.split_whitespace().next().expect("curl has an address");
    let path = address
        .strip_prefix("localhost:8080")
        .expect("curl asks the gateway");
    let (_, after) = text.split_once("-d '").expect("curl sends a body");
    let (body, after) = after.split_once('\'').expect("the body ends");
    let answer = after
        .lines()
        .find(|line| line.starts_with('{'))
        .expect("an answer stands under curl");
    let answer = serde_json::from_str(answer).expect("the answer is JSON");
    Example {
        path: path.to_owned(),
        body: body.to_owned(),
        answer,
    }
}

/// Equal, but for the last digits of numbers (processors differ) and the id of the request.
fn assert_alike(shown: &Value, real: &Value, place: &str) {
    match (shown, real) {
        (Value::Number(shown), Value::Number(real)) => {
            let (shown, real) = (
                shown.as_f64().unwrap_or(f64::NAN),
                real.as_f64().unwrap_or(f64::NAN),
            );
            assert!(
                (shown - real).abs() <= 1e-5 * (1.0 + shown.abs()),
                "{place}: {shown} is {real}"
            );
        }
        (Value::Array(shown), Value::Array(real)) if shown.len() == real.len() => {
            for (index, (shown, real)) in shown.iter().zip(real).enumerate() {
                assert_alike(shown, real, &format!("{place}[{index}]"));
            }
        }
        (Value::Object(shown), Value::Object(real)) => {
            let names = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(shown), names(real), "{place}");
            for (name, shown) in shown.iter().filter(|(name, _)| *name != "request_id") {
                assert_alike(shown, &real[name], &format!("{place}.{name}"));
            }
        }
        _ => assert_eq!(shown, real, "{place}"),
    }
}

#[tokio::test]
async fn the_answers_in_the_readme_are_real() {
    let serving = Serving::start_whole().await;
    let examples = examples();
    assert!(examples.len() >= 3, "{examples:?}");
    for example in examples {
        let request = serving.client.request(Method::POST, &example.path, example.body);
        let answer = serving.client.send(request).await;
        assert_alike(&example.answer, &answer.json(), &example.path);
    }
}

#[test]
fn every_relative_link_of_the_documents_leads_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for document in [
        "README.md",
        "CONTRIBUTING.md",
        "docs/ARCHITECTURE.md",
        "docs/training.md",
        "docs/deployment.md",
    ] {
        let text = std::fs::read_to_string(root.join(document)).unwrap();
        let folder = root.join(document).parent().unwrap().to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            let is_relative = !path.is_empty() && !path.contains("://");
            assert!(
                !is_relative || folder.join(path).exists(),
                "{document} links to {target}"
            );
        }
    }
}
