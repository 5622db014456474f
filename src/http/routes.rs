//! What the routes of every listener have in common.

use axum::Router;
use axum::middleware::from_fn_with_state;

use super::authorization::{Required, require_token};
use super::observe::AccessLog;
use super::reply::{unknown_method, unknown_path};
use super::service::Service;

/// The routes with the answers where there is none, as a service that gives every request its id and every error its body.
pub fn finish<S: Clone + Send + Sync + 'static>(
    routes: Router<S>,
    state: S,
    access_log: AccessLog,
) -> Service {
    let routes = routes
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .with_state(state);
    Service::new(routes, access_log)
}

/// The routes of operators, who must present the token where one is required.
pub fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, token: Required) -> Router<S> {
    routes.route_layer(from_fn_with_state(token, require_token))
}

#[cfg(test)]
pub(crate) mod testing {
    //! axum shows the routes of a router only in its debug text, which therefore is read here.

    use std::collections::{BTreeMap, BTreeSet};

    use axum::Router;

    use crate::api::openapi::testing::documented;

    /// Holds the routes of a process against the OpenAPI document: those of clients, and those of administration, whose tag
    /// is given.
    pub(crate) fn assert_described<S>(public: &Router<S>, admin: &Router<S>, administration: &str) {
        let of_clients = documented(|tag| !tag.ends_with("administration"));
        assert_eq!(listed(public), of_clients);
        assert_eq!(listed(admin), documented(|tag| tag == administration));
    }

    /// Method and path of every route of `router`. HEAD, which goes with GET, is left out.
    pub(super) fn listed<S>(router: &Router<S>) -> BTreeSet<(String, String)> {
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
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::Router;
    use axum::routing::{get, put};

    use super::testing::listed;

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
