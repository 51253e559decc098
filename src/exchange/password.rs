//! Passwords of Basic authentication (RFC 7617) against the lines of a file
//! (`ngx_http_auth_basic_module`).
//!
//! The schemes are those that `htpasswd` and `openssl passwd` write and nginx takes: bcrypt, SHA-256
//! and SHA-512 crypt, MD5 crypt in Apache's form and the system's, `{SHA}`, `{SSHA}`, `{PLAIN}`.
//! Traditional DES crypt is not among them: it heeds eight characters and can be tried out in hours.
//! Checking takes as long as the scheme wants it to: never on a worker.

use data_encoding::BASE64;
use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use subtle::ConstantTimeEq as _;

/// What a client says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its name.
    pub user: Vec<u8>,
    /// Its password.
    pub password: Vec<u8>,
}

/// What became of a client's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They are right.
    Right,
    /// The file has no such name.
    NoSuchUser,
    /// The password is another one.
    Mismatch,
    /// The file keeps the password in a way that cannot be checked.
    UnknownScheme,
}

/// Reads the value of `Authorization`; none where it is of another scheme or cannot be read.
#[must_use]
pub fn credentials(value: &[u8]) -> Option<Credentials> {
    let (scheme, code) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let pair = base64(code.trim_ascii())?;
    let colon = pair.iter().position(|b| *b == b':').filter(|colon| *colon > 0)?;
    Some(Credentials { user: pair[..colon].to_vec(), password: pair[colon + 1..].to_vec() })
}

/// Decodes base64 (RFC 4648, section 4); none where it is something else.
fn base64(code: &[u8]) -> Option<Vec<u8>> {
    let code = code.strip_suffix(b"==").or_else(|| code.strip_suffix(b"=")).unwrap_or(code);
    let mut text = Vec::with_capacity(code.len());
    let (mut bits, mut held) = (0_u32, 0);
    for byte in code {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            text.push((bits >> held & 0xff) as u8);
        }
    }
    Some(text)
}

/// Looks for a client among the lines `name:password[:comment]` of a file.
#[must_use]
pub fn judge(file: &[u8], said: &Credentials) -> Verdict {
    for line in file.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b"#") {
            continue;
        }
        let mut parts = line.split(|b| *b == b':');
        if parts.next() == Some(&said.user)
            && let Some(stored) = parts.next()
        {
            return match check(stored, &said.password) {
                Some(true) => Verdict::Right,
                Some(false) => Verdict::Mismatch,
                None => Verdict::UnknownScheme,
            };
        }
    }
    Verdict::NoSuchUser
}

/// Whether a password is the one that was stored; none where the scheme is unknown.
fn check(stored: &[u8], password: &[u8]) -> Option<bool> {
    let same = |computed: &[u8], stored: &[u8]| bool::from(computed.ct_eq(stored));
    if let Some(plain) = stored.strip_prefix(b"{PLAIN}") {
        return Some(same(password, plain));
    }
    if let Some(code) = stored.strip_prefix(b"{SHA}") {
        let stored = BASE64.decode(code).ok()?;
        return Some(same(digest(&SHA1_FOR_LEGACY_USE_ONLY, password).as_ref(), &stored));
    }
    if let Some(code) = stored.strip_prefix(b"{SSHA}") {
        let stored = BASE64.decode(code).ok()?;
        let (stored, salt) = stored.split_at_checked(20)?;
        let salted = [password, salt].concat();
        return Some(same(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted).as_ref(), stored));
    }
    let text = std::str::from_utf8(stored).ok()?;
    let scheme = text.strip_prefix('$')?.split('$').next()?;
    match scheme {
        "2a" | "2b" | "2x" | "2y" => bcrypt::verify(password, text).ok(),
        "apr1" | "1" => {
            let salt = text[scheme.len() + 2..].split('$').next()?;
            let computed = md5_crypt(password, salt.as_bytes(), scheme.as_bytes());
            Some(same(computed.as_bytes(), stored))
        }
        // Their checks take text; what is none is no password that anybody has set.
        "5" => Some(
            std::str::from_utf8(password).is_ok_and(|p| sha_crypt::sha256_check(p, text).is_ok()),
        ),
        "6" => Some(
            std::str::from_utf8(password).is_ok_and(|p| sha_crypt::sha512_check(p, text).is_ok()),
        ),
        _ => None,
    }
}

/// The MD5 scheme of FreeBSD's crypt(3), which Apache uses under a name of its own.
fn md5_crypt(password: &[u8], salt: &[u8], scheme: &[u8]) -> String {
    let salt = &salt[..salt.len().min(8)];
    let magic = [b"$", scheme, b"$"].concat();
    let inner: [u8; 16] = Md5::digest([password, salt, password].concat()).into();
    let mut outer = Md5::new();
    outer.update([password, &magic[..], salt].concat());
    for rest in (0..password.len()).step_by(16) {
        outer.update(&inner[..(password.len() - rest).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        outer.update(if bits & 1 == 1 { &[0][..] } else { &password[..1] });
        bits >>= 1;
    }
    let mut last: [u8; 16] = outer.finalize().into();
    for round in 0..1000 {
        let mut hash = Md5::new();
        hash.update(if round % 2 == 1 { password } else { &last });
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        hash.update(if round % 2 == 1 { &last } else { password });
        last = hash.finalize().into();
    }
    let mut text = String::from_utf8_lossy(&[&magic[..], salt, b"$"].concat()).into_owned();
    for [a, b, c] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
        let bits = u32::from(last[a]) << 16 | u32::from(last[b]) << 8 | u32::from(last[c]);
        push_base64(&mut text, bits, 4);
    }
    push_base64(&mut text, u32::from(last[11]), 2);
    text
}

/// The alphabet of crypt(3), lowest bits first.
fn push_base64(text: &mut String, mut bits: u32, digits: usize) {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for _ in 0..digits {
        text.push(char::from(ALPHABET[(bits & 63) as usize]));
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `htpasswd` (Apache 2.4), `openssl passwd` and `slappasswd`'s rule; the password is
    /// `secret` everywhere.
    const FILE: &str = "# people\n\
        bcrypt:$2y$05$9rrcL7EhkMBXI/HU00/eve5JEuDKIfCpliTzZBfF8zIO.qbqn5x8G\n\
        apr1:$apr1$mEvZG1vL$YC0JS.vjncLWQNhXAfD6m1\n\
        md5:$1$fS4xwrhn$Y3MVtjoegIi6dO0Ph8IfU.\n\
        sha256:$5$.Ys4/hP.b8QcrVHN$1gTCGQU1ApckQz0f1ZKW5luOwODrW08shRQoRnBguoD\n\
        sha512:$6$VvDHdMv2Y26bowEH$vQwdR73YUlPk677b0.SwvFnQ5YS2/MS1kazMVUP0hvBWt0TaHlZ98iO.wEYe7JhUPgly0DnwVapOzB9LOVArg0\n\
        sha:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n\
        ssha:{SSHA}Wcm1xEisNjqp921ALcHfuQ7avFdzYWx0MTIzNA==\n\
        plain:{PLAIN}secret:the name of a comment";

    fn said(user: &str, password: &str) -> Credentials {
        Credentials { user: user.into(), password: password.into() }
    }

    #[test]
    fn every_scheme_of_htpasswd_and_openssl_is_checked() {
        for user in ["bcrypt", "apr1", "md5", "sha256", "sha512", "sha", "ssha", "plain"] {
            assert_eq!(judge(FILE.as_bytes(), &said(user, "secret")), Verdict::Right, "{user}");
            for wrong in ["Secret", "secret1", ""] {
                let verdict = judge(FILE.as_bytes(), &said(user, wrong));
                assert_eq!(verdict, Verdict::Mismatch, "{user} {wrong:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_checked_lets_nobody_in() {
        for (line, expected) in [
            ("", Verdict::NoSuchUser),
            ("user", Verdict::NoSuchUser),
            ("use:x\nusers:x", Verdict::NoSuchUser),
            ("user:", Verdict::UnknownScheme),
            ("user:rqXexS6ZhobKA", Verdict::UnknownScheme),
            ("user:$9$what$ever", Verdict::UnknownScheme),
            ("user:{SHA}?", Verdict::UnknownScheme),
            ("user:{SSHA}AAAA", Verdict::UnknownScheme),
            ("user:$2y$05$short", Verdict::UnknownScheme),
            ("user:$apr1$", Verdict::Mismatch),
            ("user:$5$", Verdict::Mismatch),
            ("user:{PLAIN}", Verdict::Mismatch),
            ("#user:{PLAIN}x", Verdict::NoSuchUser),
        ] {
            assert_eq!(judge(line.as_bytes(), &said("user", "x")), expected, "{line:?}");
        }
    }

    #[test]
    fn a_long_password_counts_to_its_end() {
        let long = "0123456789abcdef0123456789abcdef!";
        let stored = md5_crypt(long.as_bytes(), b"saltsalt", b"apr1");
        assert_eq!(check(stored.as_bytes(), long.as_bytes()), Some(true));
        assert_eq!(check(stored.as_bytes(), &long.as_bytes()[..32]), Some(false));
    }

    #[test]
    fn credentials_are_a_name_and_a_password() {
        let read = |value: &str| credentials(value.as_bytes());
        assert_eq!(read("Basic dXNlcjpwYTpzcw=="), Some(said("user", "pa:ss")));
        assert_eq!(read("bAsIc dXNlcjo="), Some(said("user", "")));
        for none in [
            "",
            "Basic",
            "Basic ",
            "Basic dXNlcg==",
            "Basic OnNlY3JldA==",
            "Basic ?",
            "Bearer dXNlcjo=",
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }
}
