//! `Location` of our own answers: whole URLs by default, as nginx's.

use super::variables::Facts;

/// What a path is for the client: with scheme, host and port unless `absolute_redirect off`
/// (`ngx_http_header_filter`). What does not begin with `/` stays.
#[must_use]
pub fn absolute(facts: &Facts<'_>, path: Vec<u8>) -> Vec<u8> {
    let scene = facts.scene;
    let Some(settings) = facts.course.settings(scene.config) else { return path };
    let answers = &settings.answers;
    if !path.starts_with(b"/") || !answers.absolute_redirect {
        return path;
    }
    let server_name = facts.server_name();
    let host: &str = match &scene.asked.host {
        _ if answers.server_name_in_redirect => &server_name,
        host if !host.is_empty() => host,
        _ => "",
    };
    // A socket of the file system has no address to come back to: nginx says `localhost`.
    let local = scene.local.map_or_else(|| "localhost".to_owned(), |local| local.ip().to_string());
    let host = if host.is_empty() { &local } else { host };
    let default = if scene.scheme == "https" { 443 } else { 80 };
    let port = scene.local.map(|local| local.port());
    let port = port.filter(|port| answers.port_in_redirect && *port != default);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    [format!("{}://{host}{port}", scene.scheme).as_bytes(), &path].concat()
}
