//! What answers the requests of a listener: the routes, and before them predictions, which go straight to their handler.
//!
//! A router finds any route by walking a tree, and puts parameters, handler and layers into boxes and maps of their own. A
//! prediction through a gateway would spend a fifth of its instructions on that (docs/benchmarks.md), and there are a
//! thousand of them for each other request. The routes have them as well: for methods that are not allowed, for names that
//! are written with escapes, and to be held against the API's description.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::http::Method;
use axum::response::Response;
use tower::Service as _;

use super::observe::{AccessLog, Observed, Reported};
use super::origin::{Client, Origin};

/// Who answers predictions, where a process has any.
pub trait Predictions: Clone + Send + Sync + 'static {
    /// What method and path say of a prediction.
    type Asked: Send;

    /// What this request asks for, if it is a prediction.
    fn asked(&self, request: &Request) -> Option<Self::Asked>;

    /// The answer to one that asks for this.
    fn predict(
        &self,
        asked: Self::Asked,
        request: Request,
        origin: Origin,
    ) -> impl Future<Output = Reported> + Send;

    /// Tells in the answer to a prediction what this process says of itself, where it says anything.
    fn tell_load(&self, _: &mut Reported) {}
}

/// There are none: operators do not predict.
impl Predictions for () {
    type Asked = Infallible;

    fn asked(&self, _: &Request) -> Option<Infallible> {
        None
    }

    async fn predict(&self, asked: Infallible, _: Request, _: Origin) -> Reported {
        match asked {}
    }
}

/// The service of one listener.
#[derive(Clone)]
pub struct Service<P = ()> {
    predictions: P,
    routes: Router,
    access_log: AccessLog,
    takes_links: bool,
}

impl Service {
    pub(super) const fn new(routes: Router, access_log: AccessLog) -> Self {
        Self {
            predictions: (),
            routes,
            access_log,
            takes_links: false,
        }
    }

    /// The same, with predictions past the routes.
    pub fn with<P: Predictions>(self, predictions: P) -> Service<P> {
        Service {
            predictions,
            routes: self.routes,
            access_log: self.access_log,
            takes_links: self.takes_links,
        }
    }
}

impl<P: Predictions> Service<P> {
    /// The same, for gateways that send many requests on one connection.
    pub fn with_links(self) -> Self {
        Self {
            takes_links: true,
            ..self
        }
    }

    /// Whether connections can become links.
    pub(super) const fn takes_links(&self) -> bool {
        self.takes_links
    }

    /// The answer to a request of this client; that to a prediction tells the load where it `is_to_tell` it, when it is there.
    pub(super) async fn answer(
        &self,
        request: Request,
        client: Client,
        is_to_tell: impl FnOnce() -> bool,
    ) -> Response {
        let (observed, id) = Observed::begin(self.access_log, &request);
        let origin = Origin { client, id };
        let reported = match self.predictions.asked(&request) {
            Some(asked) => {
                let mut reported = self.predictions.predict(asked, request, origin).await;
                if is_to_tell() {
                    self.predictions.tell_load(&mut reported);
                }
                reported
            }
            None => Reported::of(self.route(request, origin).await),
        };
        observed.end(reported)
    }

    async fn route(&self, mut request: Request, origin: Origin) -> Response {
        request.extensions_mut().insert(origin);
        match self.routes.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// The dialect of a prediction, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathDialect {
    /// `…/predict`
    Native,
    /// `/v2/…/infer`
    V2,
}

/// A prediction, as its path has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PredictionPath<'a> {
    /// The dialect.
    pub dialect: PathDialect,
    /// The model, where the path names one.
    pub model: Option<&'a str>,
    /// The version, where it names one.
    pub version: Option<&'a str>,
}

impl<'a> PredictionPath<'a> {
    /// Reads a path without escapes; none: it is for the routes.
    #[must_use]
    pub fn read(method: &Method, path: &'a str) -> Option<Self> {
        if method != Method::POST || path.contains('%') {
            return None;
        }
        let (dialect, action, rest) = match path.strip_prefix("/v2/") {
            Some(rest) => (PathDialect::V2, "infer", rest),
            None if path == "/predict" => {
                return Some(Self {
                    dialect: PathDialect::Native,
                    model: None,
                    version: None,
                });
            }
            None => (PathDialect::Native, "predict", path.strip_prefix('/')?),
        };
        let mut parts = rest.strip_prefix("models/")?.split('/');
        let model = parts.next().filter(|model| !model.is_empty());
        let version = match (parts.next()?, parts.next(), parts.next()) {
            (last, None, None) if last == action => None,
            ("versions", Some(version), Some(last)) if last == action && !version.is_empty() => Some(version),
            _ => return None,
        };
        model.filter(|_| parts.next().is_none())?;
        Some(Self {
            dialect,
            model,
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str) -> Option<(PathDialect, Option<&str>, Option<&str>)> {
        let read = PredictionPath::read(&Method::POST, path)?;
        Some((read.dialect, read.model, read.version))
    }

    #[test]
    fn predictions_are_told_by_their_paths() {
        use PathDialect::{Native, V2};
        assert_eq!(read("/predict"), Some((Native, None, None)));
        assert_eq!(read("/models/iris/predict"), Some((Native, Some("iris"), None)));
        assert_eq!(
            read("/models/iris/versions/3/predict"),
            Some((Native, Some("iris"), Some("3")))
        );
        assert_eq!(read("/v2/models/iris/infer"), Some((V2, Some("iris"), None)));
        assert_eq!(
            read("/v2/models/a/versions/1/infer"),
            Some((V2, Some("a"), Some("1")))
        );
        assert_eq!(
            read("/models/versions/predict"),
            Some((Native, Some("versions"), None))
        );
    }

    #[test]
    fn everything_else_is_for_the_routes() {
        for path in [
            "/",
            "/predict/",
            "/models/iris",
            "/models//predict",
            "/models/iris/infer",
            "/v2/models/iris/predict",
            "/v2/predict",
            "/models/iris/versions//predict",
            "/models/iris/versions/1/predict/",
            "/models/iris/labels/1/predict",
            "/models/a%62/predict",
            "models/iris/predict",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
        assert_eq!(PredictionPath::read(&Method::GET, "/predict"), None);
    }
}
