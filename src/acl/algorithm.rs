//! The hash of the scheme digest (`DigestAuthenticationProvider.digestAlg`): those that a JVM
//! brings along.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::jute::data::Id;

/// A hash algorithm. All servers of an ensemble, and whoever makes ids beforehand, must use the
/// same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// SHA-1, Apache's default.
    #[default]
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-512/224.
    Sha512x224,
    /// SHA-512/256.
    Sha512x256,
    /// MD5.
    Md5,
    /// MD2.
    Md2,
    /// SHA3-224.
    Sha3x224,
    /// SHA3-256.
    Sha3x256,
    /// SHA3-384.
    Sha3x384,
    /// SHA3-512.
    Sha3x512,
}

impl DigestAlgorithm {
    /// The algorithm that `MessageDigest.getInstance` finds under this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        let named = |(known, _): &&(&str, Self)| known.eq_ignore_ascii_case(name);
        NAMES.iter().find(named).map(|(_, algorithm)| *algorithm)
    }

    /// The id of scheme `digest` that `user:password` proves: the user, up to the first ':', and
    /// the hash of all of it.
    pub fn id(self, user_password: &[u8]) -> Id {
        let user = user_password.split(|byte| *byte == b':').next().unwrap_or_default();
        let hash = self.base64(user_password);
        Id {
            scheme: "digest".into(),
            id: format!("{}:{hash}", String::from_utf8_lossy(user)).into(),
        }
    }

    fn base64(self, bytes: &[u8]) -> String {
        use sha1::Digest as _;
        match self {
            Self::Sha1 => STANDARD.encode(sha1::Sha1::digest(bytes)),
            Self::Sha224 => STANDARD.encode(sha2::Sha224::digest(bytes)),
            Self::Sha256 => STANDARD.encode(sha2::Sha256::digest(bytes)),
            Self::Sha384 => STANDARD.encode(sha2::Sha384::digest(bytes)),
            Self::Sha512 => STANDARD.encode(sha2::Sha512::digest(bytes)),
            Self::Sha512x224 => STANDARD.encode(sha2::Sha512_224::digest(bytes)),
            Self::Sha512x256 => STANDARD.encode(sha2::Sha512_256::digest(bytes)),
            Self::Md5 => STANDARD.encode(md5::Md5::digest(bytes)),
            Self::Md2 => STANDARD.encode(md2::Md2::digest(bytes)),
            Self::Sha3x224 => STANDARD.encode(sha3::Sha3_224::digest(bytes)),
            Self::Sha3x256 => STANDARD.encode(sha3::Sha3_256::digest(bytes)),
            Self::Sha3x384 => STANDARD.encode(sha3::Sha3_384::digest(bytes)),
            Self::Sha3x512 => STANDARD.encode(sha3::Sha3_512::digest(bytes)),
        }
    }
}

/// Java's names and their aliases.
const NAMES: [(&str, DigestAlgorithm); 21] = [
    ("SHA1", DigestAlgorithm::Sha1),
    ("SHA-1", DigestAlgorithm::Sha1),
    ("SHA", DigestAlgorithm::Sha1),
    ("SHA-224", DigestAlgorithm::Sha224),
    ("SHA224", DigestAlgorithm::Sha224),
    ("SHA-256", DigestAlgorithm::Sha256),
    ("SHA256", DigestAlgorithm::Sha256),
    ("SHA-384", DigestAlgorithm::Sha384),
    ("SHA384", DigestAlgorithm::Sha384),
    ("SHA-512", DigestAlgorithm::Sha512),
    ("SHA512", DigestAlgorithm::Sha512),
    ("SHA-512/224", DigestAlgorithm::Sha512x224),
    ("SHA512/224", DigestAlgorithm::Sha512x224),
    ("SHA-512/256", DigestAlgorithm::Sha512x256),
    ("SHA512/256", DigestAlgorithm::Sha512x256),
    ("MD5", DigestAlgorithm::Md5),
    ("MD2", DigestAlgorithm::Md2),
    ("SHA3-224", DigestAlgorithm::Sha3x224),
    ("SHA3-256", DigestAlgorithm::Sha3x256),
    ("SHA3-384", DigestAlgorithm::Sha3x384),
    ("SHA3-512", DigestAlgorithm::Sha3x512),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The values of `printf super:admin | openssl dgst -ALG -binary | base64`.
    #[test]
    fn ids_are_what_openssl_hashes() {
        for (name, hash) in [
            ("sha-1", "xQJmxLMiHGwaqBvst5y6rkB6HQs="),
            ("SHA-256", "wtZw1Um4mq1rRKbXqxHs8ueodBP35/JhtBP/nwJ62WY="),
            (
                "SHA512",
                "ICbpgQLY7IUUeqcBGefDeb/WOl1Du5KoY5RX0+hDpW6UmhIeG6yfXhhCfQJHZChZeBdvUBXNvoumekY+NNKIPg==",
            ),
            ("sha3-256", "n/RvsobH/8zZOcOjetd7nUc1fh+dZeopA1uboPolGDE="),
            ("md5", "vmvqb9Jqk1r+pQsU7OKtLQ=="),
            ("SHA-512/224", "SMaFBFBNnPaXiL8X0xjo/P/POMVXbIIqkFxGmg=="),
            ("SHA512/256", "QABeU55/SKMjm2TP7HSvKNTLdxDOOpOi8W/4V/8Kkss="),
            ("SHA-224", "TKEn5Y1mky3Uh6A7+bMh1TPJgKlkcRututL4gg=="),
            ("SHA-384", "AiQTwhiDeP3kDoiUQOML+I9miGA1gKrmc4a4kQiyxZuR/PE8jM/7K5jr7trT/Q8d"),
            ("SHA3-224", "lQBR4+SBNfwCatzl7SI1BZjj79SPiQlvaNYdyA=="),
            ("SHA3-384", "n/1qY03X29x69kCFY+QusMs5JjBsIbsuO9GDSsEiJd988vo6s+XUL6fUu+xPCoyS"),
            (
                "SHA3-512",
                "oqMHFOxcJdRIfsJaSRrLtjFjRGzBqKAig8eLLCwzc7HRwsfhOVcPeJpiHP86f9w2QDqDm6yl+5x5CsdwGrp2dw==",
            ),
        ] {
            let id = DigestAlgorithm::from_name(name).expect("known").id(b"super:admin");
            assert_eq!(&*id.id, format!("super:{hash}"), "{name}");
        }
        // RFC 1319's value of "abc".
        let md2 = DigestAlgorithm::from_name("MD2").expect("known").id(b"abc");
        assert_eq!(&*md2.id, "abc:2oU7DT+I2ZswKDpp5t7Wuw==");
        assert_eq!(DigestAlgorithm::from_name("SHA-2"), None);
    }
}
