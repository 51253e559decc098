//! `hash KEY`: requests with one key go to one peer, as `ngx_http_upstream_get_hash_peer`.
//!
//! The number of a key is that of `Cache::Memcached`, `(crc32(key) >> 16) & 0x7fff`. While the peer
//! is not to be had the numbers of `1KEY`, `2KEY` and so on are added to it, 20 times, and then
//! round robin decides. A change of the set moves nearly all keys: [`super::ketama`] moves few.

use super::{CANDIDATES, Spread};

/// The peers for a key, the best first.
pub(crate) fn candidates<'a>(spread: &'a Spread, key: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
    let mut sum = 0;
    (0u8..).take(CANDIDATES).filter_map(move |rehash| {
        sum += u64::from(number(rehash, key));
        spread.at(sum)
    })
}

/// The number of a key with the count of rehashes before it, in decimal; the first has none.
fn number(rehash: u8, key: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    if rehash >= 10 {
        crc.update(&[b'0' + rehash / 10]);
    }
    if rehash > 0 {
        crc.update(&[b'0' + rehash % 10]);
    }
    crc.update(key);
    (crc.finalize() >> 16) & 0x7fff
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The keys `key-0` to `key-99`, whose peers in nginx 1.22.1 the tests of both hashes hold.
    pub(in crate::upstream::balance) fn peers_of(choose: impl Fn(&[u8]) -> Option<u32>) -> String {
        let peer = |n| choose(format!("key-{n}").as_bytes());
        (0..100).map(|n| peer(n).map_or_else(|| "-".to_owned(), |p| p.to_string())).collect()
    }

    fn first(spread: &Spread) -> String {
        peers_of(|key| candidates(spread, key).next())
    }

    #[test]
    fn equal_peers_are_nginx_s() {
        assert_eq!(
            first(&Spread::of([(1, 1), (2, 1), (3, 1)].into_iter())),
            "3212313132233112123323123211232322131323112312223233212331312323323333312232132223133211212131312211"
        );
    }

    #[test]
    fn weighted_peers_are_nginx_s() {
        assert_eq!(
            first(&Spread::of([(1, 3), (2, 1), (3, 2)].into_iter())),
            "3323121211113111111333113321111113131333123323133331113312123333333131311311133111211112323212311321"
        );
    }

    #[test]
    fn with_the_second_peer_out_its_keys_go_where_nginx_sends_them() {
        let spread = Spread::of([(1, 1), (2, 1), (3, 1)].into_iter());
        assert_eq!(
            peers_of(|key| candidates(&spread, key).find(|p| *p != 2)),
            "3313313133133113133333113311131333131333113311133333111331313313313333311333133313133311313131313111"
        );
    }

    #[test]
    fn a_key_has_21_candidates() {
        assert_eq!(candidates(&Spread::of([(1, 1)].into_iter()), b"key").count(), 21);
    }
}
