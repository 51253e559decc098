//! The variables with fixed names: nginx's, and four of ours that heed `trust:`.

/// A variable with a fixed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    /// `$args`: the query without its question mark.
    Args,
    /// The client's address, 4 or 16 bytes.
    BinaryRemoteAddr,
    /// Bytes sent of the answer's body.
    BodyBytesSent,
    /// Bytes sent to the client for this request.
    BytesSent,
    /// The number of the client's connection.
    Connection,
    /// How many requests the connection has had, this one counted.
    ConnectionRequests,
    /// Seconds since the connection was made, with milliseconds.
    ConnectionTime,
    /// The request's `Content-Length`.
    ContentLength,
    /// The request's `Content-Type`.
    ContentType,
    /// The route's `root` or `alias`.
    DocumentRoot,
    /// The same as `$uri`.
    DocumentUri,
    /// As `$proxy_add_x_forwarded_for` for a trusted client, else `$remote_addr`.
    ForwardedFor,
    /// A trusted client's `X-Forwarded-Host`, else `$http_host`.
    ForwardedHost,
    /// A trusted client's `X-Forwarded-Proto`, else `$scheme`.
    ForwardedProto,
    /// Length before packing by length after it.
    GzipRatio,
    /// The host asked for, lower case, without a port; without one `$server_name`.
    Host,
    /// The machine's name.
    Hostname,
    /// `on` over TLS, else empty.
    Https,
    /// `?` where there is a query, else empty.
    IsArgs,
    /// What it was set to: no rate is limited yet.
    LimitRate,
    /// The time in seconds, with milliseconds.
    Msec,
    /// robin's version.
    NginxVersion,
    /// The process id.
    Pid,
    /// `p` for a pipelined request, else `.`.
    Pipe,
    /// The client's `X-Forwarded-For` with `$remote_addr` appended.
    ProxyAddXForwardedFor,
    /// Host and port of the route's target as written.
    ProxyHost,
    /// The port of the route's target, or its scheme's.
    ProxyPort,
    /// The same as `$args`.
    QueryString,
    /// A trusted client's `X-Real-IP`, else `$remote_addr`.
    RealIp,
    /// The address of the client's end of the connection.
    RealipRemoteAddr,
    /// Its port.
    RealipRemotePort,
    /// The route's root with its symbolic links resolved.
    RealpathRoot,
    /// The address of the client's end of the connection.
    RemoteAddr,
    /// Its port.
    RemotePort,
    /// The user name of Basic authentication.
    RemoteUser,
    /// The request line as the client sent it.
    Request,
    /// The request's body, if it was read into memory.
    RequestBody,
    /// The file that holds the request's body.
    RequestBodyFile,
    /// `OK` if the request was completed, else empty.
    RequestCompletion,
    /// The path of the file that the request asks for.
    RequestFilename,
    /// 32 hexadecimal digits, random for each request.
    RequestId,
    /// Bytes of the request: line, headers and body.
    RequestLength,
    /// The method.
    RequestMethod,
    /// The port that the client asked for.
    RequestPort,
    /// Seconds since the request's first byte, with milliseconds.
    RequestTime,
    /// Path and query as the client sent them.
    RequestUri,
    /// `http` or `https`.
    Scheme,
    /// Our end of the connection.
    ServerAddr,
    /// The first name of the virtual server.
    ServerName,
    /// The port of our end of the connection.
    ServerPort,
    /// `HTTP/1.1` and so on.
    ServerProtocol,
    /// What ALPN chose.
    SslAlpnProtocol,
    /// The cipher suite of the connection.
    SslCipher,
    /// The group that keys were exchanged in.
    SslCurve,
    /// `TLSv1.2` or `TLSv1.3`.
    SslProtocol,
    /// The name that the client asked for by SNI.
    SslServerName,
    /// `r` where the TLS session was resumed, else `.`.
    SslSessionReused,
    /// The answer's status.
    Status,
    /// Local time as in ISO 8601.
    TimeIso8601,
    /// Local time as in the combined log format.
    TimeLocal,
    /// The peers that were tried.
    UpstreamAddr,
    /// Bytes read from each peer.
    UpstreamBytesReceived,
    /// Bytes sent to each peer.
    UpstreamBytesSent,
    /// Always empty: there is no cache.
    UpstreamCacheStatus,
    /// Seconds to connect to each peer.
    UpstreamConnectTime,
    /// Seconds until each peer's head of an answer.
    UpstreamHeaderTime,
    /// Bytes of each peer's body.
    UpstreamResponseLength,
    /// Seconds until the end of each peer's answer.
    UpstreamResponseTime,
    /// The status of each peer.
    UpstreamStatus,
    /// The normalized path, as rewritten.
    Uri,
}

pub(super) const KNOWN: &[(&str, Known)] = &[
    ("args", Known::Args),
    ("binary_remote_addr", Known::BinaryRemoteAddr),
    ("body_bytes_sent", Known::BodyBytesSent),
    ("bytes_sent", Known::BytesSent),
    ("connection", Known::Connection),
    ("connection_requests", Known::ConnectionRequests),
    ("connection_time", Known::ConnectionTime),
    ("content_length", Known::ContentLength),
    ("content_type", Known::ContentType),
    ("document_root", Known::DocumentRoot),
    ("document_uri", Known::DocumentUri),
    ("forwarded_for", Known::ForwardedFor),
    ("forwarded_host", Known::ForwardedHost),
    ("forwarded_proto", Known::ForwardedProto),
    ("gzip_ratio", Known::GzipRatio),
    ("host", Known::Host),
    ("hostname", Known::Hostname),
    ("https", Known::Https),
    ("is_args", Known::IsArgs),
    ("limit_rate", Known::LimitRate),
    ("msec", Known::Msec),
    ("nginx_version", Known::NginxVersion),
    ("pid", Known::Pid),
    ("pipe", Known::Pipe),
    ("proxy_add_x_forwarded_for", Known::ProxyAddXForwardedFor),
    ("proxy_host", Known::ProxyHost),
    ("proxy_port", Known::ProxyPort),
    ("query_string", Known::QueryString),
    ("real_ip", Known::RealIp),
    ("realip_remote_addr", Known::RealipRemoteAddr),
    ("realip_remote_port", Known::RealipRemotePort),
    ("realpath_root", Known::RealpathRoot),
    ("remote_addr", Known::RemoteAddr),
    ("remote_port", Known::RemotePort),
    ("remote_user", Known::RemoteUser),
    ("request", Known::Request),
    ("request_body", Known::RequestBody),
    ("request_body_file", Known::RequestBodyFile),
    ("request_completion", Known::RequestCompletion),
    ("request_filename", Known::RequestFilename),
    ("request_id", Known::RequestId),
    ("request_length", Known::RequestLength),
    ("request_method", Known::RequestMethod),
    ("request_port", Known::RequestPort),
    ("request_time", Known::RequestTime),
    ("request_uri", Known::RequestUri),
    ("scheme", Known::Scheme),
    ("server_addr", Known::ServerAddr),
    ("server_name", Known::ServerName),
    ("server_port", Known::ServerPort),
    ("server_protocol", Known::ServerProtocol),
    ("ssl_alpn_protocol", Known::SslAlpnProtocol),
    ("ssl_cipher", Known::SslCipher),
    ("ssl_curve", Known::SslCurve),
    ("ssl_protocol", Known::SslProtocol),
    ("ssl_server_name", Known::SslServerName),
    ("ssl_session_reused", Known::SslSessionReused),
    ("status", Known::Status),
    ("time_iso8601", Known::TimeIso8601),
    ("time_local", Known::TimeLocal),
    ("upstream_addr", Known::UpstreamAddr),
    ("upstream_bytes_received", Known::UpstreamBytesReceived),
    ("upstream_bytes_sent", Known::UpstreamBytesSent),
    ("upstream_cache_status", Known::UpstreamCacheStatus),
    ("upstream_connect_time", Known::UpstreamConnectTime),
    ("upstream_header_time", Known::UpstreamHeaderTime),
    ("upstream_response_length", Known::UpstreamResponseLength),
    ("upstream_response_time", Known::UpstreamResponseTime),
    ("upstream_status", Known::UpstreamStatus),
    ("uri", Known::Uri),
];
