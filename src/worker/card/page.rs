//! Markdown as a page of HTML. The text may come from anybody.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, html};

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
h1,h2,h3{line-height:1.2}\
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}\
th,td{border:1px solid #8888;padding:.25rem .6rem}\
pre{overflow-x:auto;padding:.8rem;background:#8882;border-radius:4px}\
code{font:.9em ui-monospace,monospace}\
img{max-width:100%;height:auto;border-radius:4px}";

/// The page of the card `markdown` of `model`. HTML in the text is shown as text; links lead to `http`, `https` and `mailto`
/// addresses and to other places of this server, and nowhere else.
pub(super) fn render(model: &str, markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).map(harmless);
    let mut body = String::new();
    html::push_html(&mut body, events);
    // The names of models are letters, digits, dots, dashes and underscores.
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{model}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn harmless(event: Event<'_>) -> Event<'_> {
    match event {
        Event::Html(text) | Event::InlineHtml(text) => Event::Text(text),
        Event::Start(Tag::Link {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Link {
            link_type,
            dest_url: allowed(dest_url),
            title,
            id,
        }),
        Event::Start(Tag::Image {
            link_type,
            dest_url,
            title,
            id,
        }) => Event::Start(Tag::Image {
            link_type,
            dest_url: allowed(dest_url),
            title,
            id,
        }),
        other => other,
    }
}

/// The address, or none where its scheme is another than those of links between pages. What browsers leave out of an address
/// before they read it (blanks and control characters) cannot hide its scheme, since a scheme that is not known is refused.
fn allowed(address: CowStr<'_>) -> CowStr<'_> {
    let scheme = match address.find(['/', '?', '#', ':']) {
        Some(end) if address[end..].starts_with(':') => &address[..end],
        _ => return address,
    };
    let is_known = ["http", "https", "mailto"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known));
    if is_known { address } else { CowStr::Borrowed("") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_card_is_a_page_with_its_tables_and_pictures() {
        let page = render(
            "iris",
            "# iris\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n![loss](card/loss.svg)\n",
        );
        for part in [
            "<title>iris</title>",
            "<h1>iris</h1>",
            "<td>1</td>",
            "<img src=\"card/loss.svg\" alt=\"loss\" />",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
    }

    #[test]
    fn nothing_in_a_card_runs() {
        for hostile in [
            "<script>alert(1)</script>",
            "a <img src=x onerror=alert(1)> b",
            "[x](javascript:alert(1))",
            "[x](JaVaScRiPt:alert(1))",
            "[x](<java\tscript:alert(1)>)",
            "[x](vbscript:x)",
            "![x](data:text/html;base64,PHNjcmlwdD4=)",
            "<javascript:alert(1)>",
            "[x][1]\n\n[1]: javascript:alert(1)",
            "`</code><script>alert(1)</script>`",
            "[x](https://a.example/\"onclick=\"alert(1))",
        ] {
            let page = render("m", hostile);
            let body = page.split("<body>").nth(1).unwrap();
            for part in [
                "<script",
                "<img src=x",
                "href=\"java",
                "href=\"vb",
                "src=\"data",
                "\"onclick",
            ] {
                assert!(!body.to_lowercase().contains(part), "{hostile} became {body}");
            }
        }
    }

    #[test]
    fn links_between_pages_stay() {
        for address in [
            "card/loss.svg",
            "/models",
            "#data",
            "https://example.org/a:b",
            "mailto:a@example.org",
            "a?b=c:d",
        ] {
            assert_eq!(&*allowed(address.into()), address);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_page_without_elements_of_its_own(text in "[a-z<>&\"'\\[\\]()!:`|#\n /-]{0,60}") {
            let page = render("m", &text);
            let body = page.split("<body>").nth(1).unwrap();
            prop_assert!(!body.contains("<script") && body.contains("</html>"));
        }
    }
}
