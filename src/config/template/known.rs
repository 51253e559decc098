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
    /// What `limit_conn` has said to the request: `PASSED`, `REJECTED` or `REJECTED_DRY_RUN`.
    LimitConnStatus,
    /// Bytes a second of the answer; 0 for no limit.
    LimitRate,
    /// What `limit_req` has said to the request: `PASSED`, `DELAYED`, `REJECTED`, `DELAYED_DRY_RUN` or
    /// `REJECTED_DRY_RUN`.
    LimitReqStatus,
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
    /// The client's address as a PROXY protocol header says it.
    ProxyProtocolAddr,
    /// Its port.
    ProxyProtocolPort,
    /// The proxy's address as the header says it.
    ProxyProtocolServerAddr,
    /// Its port.
    ProxyProtocolServerPort,
    /// The same as `$args`.
    QueryString,
    /// The trace that the request belongs to.
    OtelTraceId,
    /// Our part of it.
    OtelSpanId,
    /// The part that the client has said.
    OtelParentId,
    /// Whether that one is recorded: `1` or `0`.
    OtelParentSampled,
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
    /// The cipher suites that the client has.
    SslCiphers,
    /// The client's certificate, its lines joined by tabs.
    SslClientCert,
    /// The client's certificate, escaped as an address.
    SslClientEscapedCert,
    /// The SHA-1 of the client's certificate.
    SslClientFingerprint,
    /// Who has signed the client's certificate.
    SslClientIDn,
    /// The same in OpenSSL's older form.
    SslClientIDnLegacy,
    /// The client's certificate.
    SslClientRawCert,
    /// Whom the client's certificate is for.
    SslClientSDn,
    /// The same in OpenSSL's older form.
    SslClientSDnLegacy,
    /// The number of the client's certificate.
    SslClientSerial,
    /// Until when the client's certificate is good.
    SslClientVEnd,
    /// For how many days more.
    SslClientVRemain,
    /// From when the client's certificate is good.
    SslClientVStart,
    /// `SUCCESS`, `NONE`, or `FAILED:` and why.
    SslClientVerify,
    /// The group that keys were exchanged in.
    SslCurve,
    /// The groups that the client has.
    SslCurves,
    /// `TLSv1.2` or `TLSv1.3`.
    SslProtocol,
    /// The name that the client asked for by SNI.
    SslServerName,
    /// What names the TLS session: 64 hexadecimal digits.
    SslSessionId,
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
    ("limit_conn_status", Known::LimitConnStatus),
    ("limit_rate", Known::LimitRate),
    ("limit_req_status", Known::LimitReqStatus),
    ("msec", Known::Msec),
    ("nginx_version", Known::NginxVersion),
    ("otel_parent_id", Known::OtelParentId),
    ("otel_parent_sampled", Known::OtelParentSampled),
    ("otel_span_id", Known::OtelSpanId),
    ("otel_trace_id", Known::OtelTraceId),
    ("pid", Known::Pid),
    ("pipe", Known::Pipe),
    ("proxy_add_x_forwarded_for", Known::ProxyAddXForwardedFor),
    ("proxy_host", Known::ProxyHost),
    ("proxy_port", Known::ProxyPort),
    ("proxy_protocol_addr", Known::ProxyProtocolAddr),
    ("proxy_protocol_port", Known::ProxyProtocolPort),
    ("proxy_protocol_server_addr", Known::ProxyProtocolServerAddr),
    ("proxy_protocol_server_port", Known::ProxyProtocolServerPort),
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
    ("ssl_ciphers", Known::SslCiphers),
    ("ssl_client_cert", Known::SslClientCert),
    ("ssl_client_escaped_cert", Known::SslClientEscapedCert),
    ("ssl_client_fingerprint", Known::SslClientFingerprint),
    ("ssl_client_i_dn", Known::SslClientIDn),
    ("ssl_client_i_dn_legacy", Known::SslClientIDnLegacy),
    ("ssl_client_raw_cert", Known::SslClientRawCert),
    ("ssl_client_s_dn", Known::SslClientSDn),
    ("ssl_client_s_dn_legacy", Known::SslClientSDnLegacy),
    ("ssl_client_serial", Known::SslClientSerial),
    ("ssl_client_v_end", Known::SslClientVEnd),
    ("ssl_client_v_remain", Known::SslClientVRemain),
    ("ssl_client_v_start", Known::SslClientVStart),
    ("ssl_client_verify", Known::SslClientVerify),
    ("ssl_curve", Known::SslCurve),
    ("ssl_curves", Known::SslCurves),
    ("ssl_protocol", Known::SslProtocol),
    ("ssl_server_name", Known::SslServerName),
    ("ssl_session_id", Known::SslSessionId),
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
