//! The field names that have a meaning to the house, and how a name is recognised in one step.

/// What a known field name is to a gateway.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// For one connection only: never forwarded (RFC 9110 §7.6.1, HTTP_SAFETY rule 14).
    Hop,
    /// From end to end, and of weight before the body: never in a trailer section, because it
    /// frames, routes, authenticates, controls caches or describes the content (RFC 9110 §6.5.1).
    End,
    /// From end to end, and harmless in a trailer section.
    Late,
}

macro_rules! field_names {
    ($($name:ident $text:literal $kind:ident,)*) => {
        /// A field name that has a meaning to the house.
        ///
        /// Known names that are not hop-by-hop are end-to-end: a `Connection` field that lists
        /// one of them is not obeyed (HTTP_SAFETY rule 14).
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[expect(missing_docs, reason = "each variant is the field of the same name")]
        pub enum FieldName {
            /// Any other name.
            #[default]
            Other,
            /// A name that begins with `Proxy-` and is none of the known ones.
            ProxyOther,
            $($name,)*
        }

        const KNOWN: &[(FieldName, &str, Kind)] =
            &[$((FieldName::$name, $text, Kind::$kind),)*];
    };
}

field_names! {
    Accept "accept" End,
    AcceptEncoding "accept-encoding" End,
    Age "age" End,
    Allow "allow" End,
    Authorization "authorization" End,
    CacheControl "cache-control" End,
    Connection "connection" Hop,
    ContentEncoding "content-encoding" End,
    ContentLength "content-length" End,
    ContentRange "content-range" End,
    ContentType "content-type" End,
    Cookie "cookie" End,
    Date "date" End,
    ETag "etag" Late,
    Expect "expect" End,
    Expires "expires" End,
    Forwarded "forwarded" End,
    Host "host" End,
    Http2Settings "http2-settings" Hop,
    IfMatch "if-match" End,
    IfModifiedSince "if-modified-since" End,
    IfNoneMatch "if-none-match" End,
    IfRange "if-range" End,
    IfUnmodifiedSince "if-unmodified-since" End,
    KeepAlive "keep-alive" Hop,
    LastModified "last-modified" Late,
    Location "location" End,
    MaxForwards "max-forwards" End,
    Origin "origin" End,
    Pragma "pragma" End,
    // No standard defines it, and programs behind a gateway take it for HTTP_PROXY ("httpoxy").
    Proxy "proxy" Hop,
    ProxyAuthenticate "proxy-authenticate" Hop,
    ProxyAuthenticationInfo "proxy-authentication-info" Hop,
    ProxyAuthorization "proxy-authorization" Hop,
    ProxyConnection "proxy-connection" Hop,
    ProxyStatus "proxy-status" Late,
    Range "range" End,
    Referer "referer" End,
    RetryAfter "retry-after" End,
    Server "server" End,
    SetCookie "set-cookie" End,
    Te "te" Hop,
    Trailer "trailer" Hop,
    TransferEncoding "transfer-encoding" Hop,
    Upgrade "upgrade" Hop,
    UserAgent "user-agent" End,
    Vary "vary" End,
    Via "via" End,
    Warning "warning" End,
    WwwAuthenticate "www-authenticate" End,
    XForwardedFor "x-forwarded-for" End,
    XForwardedHost "x-forwarded-host" End,
    XForwardedPort "x-forwarded-port" End,
    XForwardedProto "x-forwarded-proto" End,
    XHttpMethodOverride "x-http-method-override" End,
    XRealIp "x-real-ip" End,
    XRequestId "x-request-id" End,
}

impl FieldName {
    /// The known name that these bytes spell, in any case.
    #[inline]
    pub fn from_bytes(name: &[u8]) -> FieldName {
        let Some(slot) = slot(name) else { return FieldName::Other };
        if let Some((id, text, _)) = KNOWN.get(TABLE[slot] as usize)
            && is_spelled(name, text.as_bytes())
        {
            return *id;
        }
        match name.get(..6) {
            Some(start) if start.eq_ignore_ascii_case(b"proxy-") => FieldName::ProxyOther,
            _ => FieldName::Other,
        }
    }

    /// The name in lower case; empty for those that stand for many names.
    pub fn as_str(self) -> &'static str {
        match self.known() {
            Some((_, text, _)) => text,
            None => "",
        }
    }

    /// Whether fields of this name are for one connection only and are never forwarded
    /// (RFC 9110 §7.6.1, HTTP_SAFETY rule 14).
    #[inline]
    pub fn is_hop_by_hop(self) -> bool {
        HOP_BY_HOP[self as usize]
    }

    /// Whether this is a known end-to-end name, which `Connection` cannot nominate away.
    pub fn is_end_to_end(self) -> bool {
        self.known().is_some_and(|(_, _, kind)| *kind != Kind::Hop)
    }

    /// Whether a message has at most one field of this name (HTTP_SAFETY rule 19).
    pub fn is_single(self) -> bool {
        matches!(
            self,
            FieldName::Authorization
                | FieldName::ContentRange
                | FieldName::ContentType
                | FieldName::ETag
                | FieldName::Expires
                | FieldName::LastModified
                | FieldName::Location
                | FieldName::Origin
                | FieldName::Referer
                | FieldName::RetryAfter
                | FieldName::UserAgent
        )
    }

    /// Whether fields of this name say where a message ends or which host it is for, or belong to
    /// one connection: the gateway writes them from what it understood, and nobody edits them.
    pub fn is_framing(self) -> bool {
        self.is_hop_by_hop() || matches!(self, FieldName::ContentLength | FieldName::Host)
    }

    /// Whether a field of this name may be kept in a trailer section (RFC 9110 §6.5.1).
    pub fn is_allowed_in_trailers(self) -> bool {
        match self.known() {
            Some((_, _, kind)) => *kind == Kind::Late,
            None => self == FieldName::Other,
        }
    }

    fn known(self) -> Option<&'static (FieldName, &'static str, Kind)> {
        KNOWN.get((self as usize).checked_sub(FIRST_KNOWN)?)
    }
}

/// Discriminant of the first name in [`KNOWN`].
const FIRST_KNOWN: usize = FieldName::ProxyOther as usize + 1;

/// Whether the name with this discriminant is hop-by-hop.
const HOP_BY_HOP: [bool; FIRST_KNOWN + KNOWN.len()] = {
    let mut hop = [false; FIRST_KNOWN + KNOWN.len()];
    hop[FieldName::ProxyOther as usize] = true;
    let mut at = 0;
    while at < KNOWN.len() {
        hop[KNOWN[at].0 as usize] = matches!(KNOWN[at].2, Kind::Hop);
        at += 1;
    }
    hop
};

/// Slots of the table, a power of two with room enough that no two names meet in one.
const SLOTS: usize = 512;

/// Marks an empty slot; beyond the end of [`KNOWN`].
const EMPTY: u8 = u8::MAX;

/// For each slot the index in [`KNOWN`] of the one name that falls into it. Built, and proved
/// free of collisions, by the compiler: a new name that collides does not compile.
const TABLE: [u8; SLOTS] = {
    let mut table = [EMPTY; SLOTS];
    let mut at = 0;
    while at < KNOWN.len() {
        let Some(slot) = slot(KNOWN[at].1.as_bytes()) else { panic!("a name is empty") };
        assert!(table[slot] == EMPTY, "two names fall into one slot: change the factors");
        table[slot] = at as u8;
        at += 1;
    }
    table
};

/// Whether `name` is `known`, which is lower case, in any case: compared in words, the last word
/// overlapping the one before it.
#[inline]
fn is_spelled(name: &[u8], known: &[u8]) -> bool {
    if name.len() != known.len() {
        return false;
    }
    if let (Some(name_end), Some(known_end)) = (name.last_chunk(), known.last_chunk()) {
        let (words, _) = name.as_chunks::<8>();
        let (known_words, _) = known.as_chunks::<8>();
        let mut pairs = words.iter().zip(known_words);
        return pairs.all(|(name, known)| same_letters(*name, *known))
            && same_letters(*name_end, *known_end);
    }
    match (name, known) {
        ([a, b, c, d, ..], [e, f, g, h, ..]) => {
            let [.., i, j, k, l] = name else { return false };
            let [.., m, n, o, p] = known else { return false };
            same_letters([*a, *b, *c, *d, *i, *j, *k, *l], [*e, *f, *g, *h, *m, *n, *o, *p])
        }
        _ => name.eq_ignore_ascii_case(known),
    }
}

/// Whether eight bytes differ in nothing but the case of letters. Of the characters of known
/// names only the letters have the bit 0x40, and the bit below it is their case.
#[inline]
fn same_letters(name: [u8; 8], known: [u8; 8]) -> bool {
    const LETTER: u64 = u64::from_le_bytes([0x40; 8]);
    let known = u64::from_le_bytes(known);
    (u64::from_le_bytes(name) ^ known) & !((known & LETTER) >> 1) == 0
}

/// The slot of a name, from its length and three of its letters without their case.
#[inline]
const fn slot(name: &[u8]) -> Option<usize> {
    let len = name.len();
    if len < 2 {
        return None;
    }
    let first = (name[0] | 0x20) as usize;
    let middle = (name[len / 2] | 0x20) as usize;
    let late = (name[len - 2] | 0x20) as usize;
    Some((len.wrapping_mul(43) + first * 17 + middle * 127 + late * 11) % SLOTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (id, text, _) in KNOWN {
            assert_eq!(FieldName::from_bytes(text.as_bytes()), *id, "{text}");
            assert_eq!(FieldName::from_bytes(text.to_uppercase().as_bytes()), *id, "{text}");
            assert_eq!(id.as_str(), *text);
            assert_eq!(id.is_end_to_end(), !id.is_hop_by_hop(), "{text}");
        }
    }

    #[test]
    fn near_misses_are_other_names() {
        for name in
            ["", "h", "hos", "hosts", "hast", "x-forwarded_for", "content_length", "hos\u{4}"]
        {
            assert_eq!(FieldName::from_bytes(name.as_bytes()), FieldName::Other, "{name:?}");
        }
    }

    #[test]
    fn all_that_begins_with_proxy_is_hop_by_hop_but_the_status() {
        assert!(FieldName::from_bytes(b"Proxy").is_hop_by_hop());
        assert!(FieldName::from_bytes(b"Proxy-Features").is_hop_by_hop());
        assert!(FieldName::from_bytes(b"PROXY-connection").is_hop_by_hop());
        assert!(!FieldName::from_bytes(b"Proxy-Status").is_hop_by_hop());
        assert!(!FieldName::from_bytes(b"Proxying").is_hop_by_hop());
        assert!(!FieldName::Other.is_hop_by_hop());
    }

    #[test]
    fn trailers_never_frame_route_or_authenticate() {
        for name in ["host", "content-length", "authorization", "cookie", "te", "x-forwarded-for"] {
            let id = FieldName::from_bytes(name.as_bytes());
            assert!(!id.is_allowed_in_trailers(), "{name}");
        }
        assert!(!FieldName::ProxyOther.is_allowed_in_trailers());
        assert!(FieldName::ETag.is_allowed_in_trailers());
        assert!(FieldName::Other.is_allowed_in_trailers());
    }
}
