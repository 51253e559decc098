//! `ssl*` and `http2`.

use super::{HTTP_SERVER, Row, only};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    only("ssl", HTTP_SERVER, &["off"], "robin does not speak TLS yet: let something before it do so"),
];
