//! Plumbing of one request: the phases of Pingora's `ProxyHttp`, handed to `exchange`.
