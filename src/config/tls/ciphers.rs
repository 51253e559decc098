//! Cipher suites of TLS 1.2 by the names that OpenSSL has for them, and its language to choose them.
//!
//! rustls has six suites, all with a key exchange that keeps the past secret and authenticated
//! encryption. A list written for OpenSSL names dozens: what is not among the six does not exist
//! here and is passed over, as OpenSSL does with names that it does not know. The suites of
//! TLS 1.3 are not chosen this way, in OpenSSL neither.

use rustls::crypto::ring::cipher_suite as rustls_suite;
use rustls::{CipherSuite as Id, SupportedCipherSuite};

/// A cipher suite of TLS 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherSuite {
    /// `ECDHE-ECDSA-AES256-GCM-SHA384`
    EcdsaAes256,
    /// `ECDHE-RSA-AES256-GCM-SHA384`
    RsaAes256,
    /// `ECDHE-ECDSA-CHACHA20-POLY1305`
    EcdsaChaCha20,
    /// `ECDHE-RSA-CHACHA20-POLY1305`
    RsaChaCha20,
    /// `ECDHE-ECDSA-AES128-GCM-SHA256`
    EcdsaAes128,
    /// `ECDHE-RSA-AES128-GCM-SHA256`
    RsaAes128,
}

impl CipherSuite {
    /// All of them, in OpenSSL's order.
    pub const ALL: [Self; 6] = [
        Self::EcdsaAes256,
        Self::RsaAes256,
        Self::EcdsaChaCha20,
        Self::RsaChaCha20,
        Self::EcdsaAes128,
        Self::RsaAes128,
    ];

    /// OpenSSL's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EcdsaAes256 => "ECDHE-ECDSA-AES256-GCM-SHA384",
            Self::RsaAes256 => "ECDHE-RSA-AES256-GCM-SHA384",
            Self::EcdsaChaCha20 => "ECDHE-ECDSA-CHACHA20-POLY1305",
            Self::RsaChaCha20 => "ECDHE-RSA-CHACHA20-POLY1305",
            Self::EcdsaAes128 => "ECDHE-ECDSA-AES128-GCM-SHA256",
            Self::RsaAes128 => "ECDHE-RSA-AES128-GCM-SHA256",
        }
    }

    /// The name in the standard.
    fn standard_name(self) -> &'static str {
        match self {
            Self::EcdsaAes256 => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::RsaAes256 => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaChaCha20 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::RsaChaCha20 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::EcdsaAes128 => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::RsaAes128 => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        }
    }

    /// The same in rustls.
    #[must_use]
    pub fn in_rustls(self) -> SupportedCipherSuite {
        match self {
            Self::EcdsaAes256 => rustls_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            Self::RsaAes256 => rustls_suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            Self::EcdsaChaCha20 => rustls_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            Self::RsaChaCha20 => rustls_suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
            Self::EcdsaAes128 => rustls_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            Self::RsaAes128 => rustls_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        }
    }

    fn is_ecdsa(self) -> bool {
        matches!(self, Self::EcdsaAes256 | Self::EcdsaChaCha20 | Self::EcdsaAes128)
    }

    fn is_chacha20(self) -> bool {
        matches!(self, Self::EcdsaChaCha20 | Self::RsaChaCha20)
    }

    fn is_aes128(self) -> bool {
        matches!(self, Self::EcdsaAes128 | Self::RsaAes128)
    }

    /// Whether one of OpenSSL's words means this suite, too (openssl-ciphers(1)).
    fn is(self, word: &str) -> bool {
        match word {
            "ALL" | "DEFAULT" | "HIGH" | "TLSv1.2" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" => {
                true
            }
            "aECDSA" | "ECDSA" => self.is_ecdsa(),
            "aRSA" => !self.is_ecdsa(),
            "CHACHA20" => self.is_chacha20(),
            "AES" | "AESGCM" | "FIPS" => !self.is_chacha20(),
            "AES128" => self.is_aes128(),
            "AES256" => !self.is_chacha20() && !self.is_aes128(),
            name => name == self.name() || name == self.standard_name(),
        }
    }
}

/// The suites that a list in OpenSSL's language chooses, the most wanted first.
#[must_use]
pub fn choose(list: &str) -> Vec<CipherSuite> {
    let mut chosen: Vec<CipherSuite> = Vec::new();
    let mut left: Vec<CipherSuite> = CipherSuite::ALL.into();
    for rule in list.split([':', ' ', ',', ';']).filter(|rule| !rule.is_empty()) {
        if let Some(command) = rule.strip_prefix('@') {
            if command == "STRENGTH" {
                chosen.sort_by_key(|suite| suite.is_aes128());
            }
            continue;
        }
        let (action, words) = match rule.as_bytes()[0] {
            action @ (b'!' | b'-' | b'+') => (action, &rule[1..]),
            _ => (b' ', rule),
        };
        let meant = |suite: &CipherSuite| words.split('+').all(|word| suite.is(word));
        match action {
            b'!' => {
                chosen.retain(|suite| !meant(suite));
                left.retain(|suite| !meant(suite));
            }
            b'-' => left.extend(chosen.extract_if(.., |suite| meant(suite))),
            b'+' => {
                let last: Vec<_> = chosen.extract_if(.., |suite| meant(suite)).collect();
                chosen.extend(last);
            }
            _ => chosen.extend(left.extract_if(.., |suite| meant(suite))),
        }
    }
    chosen
}

/// OpenSSL's name of a suite that a handshake has settled on.
#[must_use]
pub fn openssl_name(suite: Id) -> &'static str {
    let known = CipherSuite::ALL.into_iter().find(|known| known.in_rustls().suite() == suite);
    match suite {
        Id::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Id::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Id::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        _ => known.map_or("", CipherSuite::name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        choose(list).into_iter().map(CipherSuite::name).collect()
    }

    #[test]
    fn the_default_of_nginx_chooses_all() {
        assert_eq!(choose("HIGH:!aNULL:!MD5"), CipherSuite::ALL);
    }

    #[test]
    fn names_keep_their_order_and_unknown_ones_are_passed_over() {
        let list = "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-SHA:ECDHE-ECDSA-AES256-GCM-SHA384";
        let expected = ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"];
        assert_eq!(names(list), expected);
        assert!(names("RC4-SHA:AES128-SHA:kRSA").is_empty());
    }

    #[test]
    fn words_are_joined_removed_and_moved_as_openssl_does() {
        assert_eq!(names("EECDH+AES128+aRSA"), ["ECDHE-RSA-AES128-GCM-SHA256"]);
        assert_eq!(
            names("ALL:!ECDSA:+AES256:@SECLEVEL=1"),
            [
                "ECDHE-RSA-CHACHA20-POLY1305",
                "ECDHE-RSA-AES128-GCM-SHA256",
                "ECDHE-RSA-AES256-GCM-SHA384"
            ]
        );
        assert_eq!(
            names("aRSA:-CHACHA20:!AES256:ALL:!aECDSA"),
            ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"]
        );
        assert_eq!(
            names("AES128+aRSA:AES256+aRSA:@STRENGTH"),
            ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"]
        );
    }
}
