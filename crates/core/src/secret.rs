//! A secret's value, which no formatting can print.

/// The value behind a secret reference. It lives in memory only, and `Debug` shows a mask.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// What stands in for a secret wherever a person reads.
pub const MASK: &str = "********";

impl Secret {
    /// Takes the value; surrounding white space (a file's last newline) is not part of it.
    #[must_use]
    pub fn new(value: &str) -> Self {
        Self(value.trim().to_owned())
    }

    /// The value itself. Call it where a request is built and nowhere else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `text` with every occurrence of the secret masked: the last guard before a foreign text is stored or shown. A value of
    /// less than four bytes protects nothing and would mask half of every sentence.
    #[must_use]
    pub fn mask_in(&self, text: &str) -> String {
        if self.0.len() < 4 {
            text.to_owned()
        } else {
            text.replace(&self.0, MASK)
        }
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_a_mask_and_the_value_is_trimmed() {
        let secret = Secret::new(" k3y\n");
        assert_eq!(format!("{secret:?}"), MASK);
        assert_eq!(secret.expose(), "k3y");
    }

    #[test]
    fn a_text_that_quotes_the_secret_is_masked() {
        assert_eq!(
            Secret::new("k3y9").mask_in("bearer k3y9 refused"),
            "bearer ******** refused"
        );
        assert_eq!(Secret::new("abc").mask_in("abc"), "abc");
    }
}
