//! The description of every route of both processes, in OpenAPI 3.1; both serve it.

/// The document, as JSON.
pub const DOCUMENT: &str = include_str!("openapi.json");

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::DOCUMENT;

    pub(super) fn document() -> Value {
        serde_json::from_str(DOCUMENT).unwrap()
    }

    /// Method and path of every operation whose tag is chosen.
    pub(crate) fn documented(is_chosen: impl Fn(&str) -> bool) -> BTreeSet<(String, String)> {
        let document = document();
        let mut found = BTreeSet::new();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if is_chosen(operation["tags"][0].as_str().unwrap()) {
                    found.insert((method.to_uppercase(), path.clone()));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::testing::document;
    use crate::api::error::ErrorCode;
    use crate::api::headers::LOAD_METRICS;
    use crate::api::load_report::LoadReport;
    use crate::model::preprocessing::image::{Channels, ImageInput, ImageLayout};
    use crate::model::tensor::Datatype;

    #[test]
    fn it_knows_every_error_code() {
        let document = document();
        let codes = &document["components"]["schemas"]["ErrorCode"]["enum"];
        let expected: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(codes, &serde_json::to_value(expected).unwrap());
    }

    #[test]
    fn it_knows_every_datatype() {
        let document = document();
        let datatypes = &document["components"]["schemas"]["Datatype"]["enum"];
        let expected = Datatype::ALL.map(Datatype::as_str);
        assert_eq!(datatypes, &serde_json::to_value(expected).unwrap());
    }

    #[test]
    fn it_knows_everything_that_an_image_declares() {
        let declared = ImageInput {
            layout: ImageLayout::Nhwc,
            scale: 1.0,
            mean: vec![0.5],
            std: vec![0.5],
            ..ImageInput::new(8, 8, Channels::Grey)
        };
        let declared = serde_json::to_value(declared).unwrap();
        let document = document();
        let properties = &document["components"]["schemas"]["ImageInput"]["properties"];
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let (mut known, mut written) = (keys(properties), keys(&declared));
        known.sort_unstable();
        written.sort_unstable();
        assert_eq!(known, written);
        assert_eq!(
            properties["channels"]["enum"],
            serde_json::json!([Channels::Grey, Channels::Colour])
        );
        assert_eq!(
            properties["layout"]["enum"],
            serde_json::json!([ImageLayout::Nchw, ImageLayout::Nhwc])
        );
    }

    #[test]
    fn it_shows_a_load_as_workers_write_it() {
        let document = document();
        let example = document["components"]["headers"]["LoadMetrics"]["example"]
            .as_str()
            .unwrap();
        let report = LoadReport::parse(example).unwrap();
        assert!(report.capacity().is_some());
        assert_eq!(report.to_header(), example);
    }

    #[test]
    fn every_answer_about_a_model_tells_the_load() {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let models = paths.iter().filter(|(path, _)| {
            path.starts_with("/models/{model}") || path.starts_with("/v2/models/{model}")
        });
        for (path, operations) in models {
            for (method, operation) in operations.as_object().unwrap() {
                let headers = &operation["responses"]["200"]["headers"];
                assert!(headers.get(LOAD_METRICS).is_some(), "{method} {path}");
            }
        }
        for (name, response) in document["components"]["responses"].as_object().unwrap() {
            assert!(response["headers"].get(LOAD_METRICS).is_some(), "{name}");
        }
    }

    #[test]
    fn operators_alone_may_be_asked_for_a_token() {
        let document = document();
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let is_admin = operation["tags"][0].as_str().unwrap().ends_with("administration");
                let may_refuse = operation["responses"].get("401").is_some();
                assert_eq!(may_refuse, is_admin, "{method} {path}");
            }
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn check(value: &Value, document: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|member| check(member, document));
                }
                Value::Array(items) => items.iter().for_each(|item| check(item, document)),
                _ => {}
            }
        }
        let document = document();
        check(&document, &document);
    }
}
