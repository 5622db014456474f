//! What a client would rather read (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header};

/// Whether a client asks for a page before it asks for Markdown, as browsers do. Who takes anything gets the text as it is.
#[must_use]
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let html = quality(headers, "text/html").max(quality(headers, "application/xhtml+xml"));
    html > 0.0 && html > quality(headers, "text/markdown")
}

/// How much a client would like what it asks for by this very name: 0 to 1, 0 where it does not name it.
fn quality(headers: &HeaderMap, kind: &str) -> f32 {
    let listed = headers.get_all(header::ACCEPT).iter();
    let listed = listed
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut best = 0.0;
    for entry in listed {
        let mut parts = entry.split(';').map(str::trim);
        if !parts.next().is_some_and(|name| name.eq_ignore_ascii_case(kind)) {
            continue;
        }
        let told = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = told.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
        best = f32::max(best, quality);
    }
    best
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_page_is_for_those_who_ask_for_one() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        for (accept, expected) in [
            ("", false),
            ("*/*", false),
            ("text/*", false),
            ("text/markdown", false),
            ("text/markdown, text/html", false),
            ("text/markdown;q=0.5, text/html;q=0.4", false),
            ("text/html;q=0", false),
            ("text/html;q=much", false),
            ("TEXT/HTML ; q=0.1", true),
            ("text/markdown;q=0.4, text/html;q=0.5", true),
            (browser, true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(prefers_html(&headers), expected, "{accept}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
