//! The live page at `/`, and the figures that it shows.
//!
//! The page is three files, which are compiled in. Nothing is loaded from anywhere else, and headers forbid the browser
//! to do so. The page contains no figures: it requests [`Status`] once a second, with the reader's token if one is
//! needed.

mod status;

use axum::Router;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};

pub(super) use status::Status;

/// Allows scripts, styles and requests of this server only, and no frames, plug-ins or forms that lead elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Returns the routes of the page itself. It contains no secrets, so nobody needs a token for it.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", file("text/html; charset=utf-8", include_str!("page.html")))
        .route("/page.css", file("text/css; charset=utf-8", include_str!("page.css")))
        .route("/page.js", file("text/javascript; charset=utf-8", include_str!("page.js")))
}

fn file<S: Clone + Send + Sync + 'static>(kind: &'static str, content: &'static str) -> MethodRouter<S> {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // After an update of the server, page and script must be of the same release.
        (CACHE_CONTROL, "no-cache"),
    ];
    get(move || async move { (headers, content).into_response() })
}

#[cfg(test)]
mod tests {
    #[test]
    fn colours_are_those_of_the_figures() {
        let theme = include_str!("../../report/theme.rs");
        let css = include_str!("page.css");
        let colours: Vec<_> = css.split('#').skip(1).filter_map(|rest| rest.get(..6)).collect();
        let colours = colours.iter().filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let mut seen = 0;
        for code in colours {
            let tokens = format!("(0x{}, 0x{}, 0x{})", &code[..2], &code[2..4], &code[4..]);
            assert!(theme.contains(&tokens), "#{code} is no design token");
            seen += 1;
        }
        assert_eq!(seen, 18, "two themes of nine colours");
    }
}
