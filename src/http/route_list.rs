//! The routes of a router, for tests. axum shows them only in its debug text, which therefore is read here.

use std::collections::{BTreeMap, BTreeSet};

use axum::Router;

/// Method and path of every route of `router`. HEAD, which goes with GET, is left out.
pub(crate) fn listed<S>(router: &Router<S>) -> BTreeSet<(String, String)> {
    let text = format!("{router:?}");
    let (own, _) = text
        .split_once("fallback_router:")
        .expect("a router has a fallback");
    let (endpoints, paths) = own
        .split_once("node: Node")
        .expect("a router has a node of paths");
    let allowed = by_id(endpoints, "allow_header: Bytes(b\"");
    let paths = by_id(paths, "): \"");
    assert!(
        !paths.is_empty() && paths.keys().eq(allowed.keys()),
        "axum writes routes otherwise: {own}"
    );
    let mut routes = BTreeSet::new();
    for (id, path) in paths {
        for method in allowed[id].split(',').filter(|&method| method != "HEAD") {
            routes.insert((method.to_owned(), path.to_owned()));
        }
    }
    routes
}

/// For the id of each route the text between `begin` and the next quote.
fn by_id<'t>(text: &'t str, begin: &str) -> BTreeMap<&'t str, &'t str> {
    let entries = text.split("RouteId(").skip(1);
    let entry = |entry: &'t str| {
        let (id, _) = entry.split_once(')')?;
        let (_, value) = entry.split_once(begin)?;
        Some((id, value.split_once('"')?.0))
    };
    entries.filter_map(entry).collect()
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, put};

    use super::*;

    #[test]
    fn every_method_of_every_path_is_listed() {
        let more = Router::new().route("/b/{x}", get(async || ()));
        let router: Router = Router::new()
            .route("/a", put(async || ()).delete(async || ()))
            .merge(more);
        let expected = [("DELETE", "/a"), ("GET", "/b/{x}"), ("PUT", "/a")];
        assert_eq!(
            listed(&router),
            BTreeSet::from(expected.map(|(method, path)| (method.to_owned(), path.to_owned())))
        );
    }
}
