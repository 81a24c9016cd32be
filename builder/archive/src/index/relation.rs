//! Relations between packages (Debian policy §7.1): `libc6 (>= 2.38), default-mta | mail-transport-agent`.

use std::cmp::Ordering;
use std::fmt;

use super::Problem;
use crate::DebVersion;
use crate::names::{is_package_name, shortened};

/// One of these must be there. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency<'a>(pub Vec<Relation<'a>>);

/// A package, real or provided, perhaps in certain versions only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation<'a> {
    /// Its name.
    pub name: &'a str,
    /// What follows the name after a colon: `any`, `native` or an architecture.
    pub qualifier: Option<&'a str>,
    /// The versions that will do; `None`: all.
    pub constraint: Option<Constraint<'a>>,
}

/// A set of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint<'a> {
    /// On which side of `version`.
    pub operator: Operator,
    /// The version to compare with.
    pub version: DebVersion<'a>,
}

/// How a version must compare with the one of a constraint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Exactly,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

/// Reads the value of a relation field.
///
/// # Errors
/// [`Problem::Relation`] or [`Problem::Version`] for the first part that is wrong.
pub fn relations(field: &str) -> Result<Vec<Dependency<'_>>, Problem> {
    let parts = field.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| Ok(Dependency(part.split('|').map(relation).collect::<Result<_, Problem>>()?))).collect()
}

fn relation(text: &str) -> Result<Relation<'_>, Problem> {
    let text = text.trim();
    let bad = || Problem::Relation(shortened(text));
    let (package, constraint) = match text.split_once('(') {
        None => (text, None),
        Some((package, rest)) => {
            let inside = rest.strip_suffix(')').ok_or_else(bad)?.trim();
            let digits = inside.find(|c: char| !matches!(c, '<' | '=' | '>')).ok_or_else(bad)?;
            let (operator, version) = inside.split_at(digits);
            let operator = match operator {
                "<<" => Operator::Earlier,
                "<=" | "<" => Operator::EarlierOrEqual,
                "=" => Operator::Exactly,
                ">=" | ">" => Operator::LaterOrEqual,
                ">>" => Operator::Later,
                _ => return Err(bad()),
            };
            (package.trim_end(), Some(Constraint { operator, version: DebVersion::parse(version.trim())? }))
        }
    };
    let (name, qualifier) = match package.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (package, None),
    };
    let plain = |qualifier: &str| qualifier.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if !is_package_name(name) || qualifier.is_some_and(|qualifier| qualifier.is_empty() || !plain(qualifier))
    {
        return Err(bad());
    }
    Ok(Relation { name, qualifier, constraint })
}

impl Relation<'_> {
    /// Whether a package of our architecture can meet it at all (`:i386` cannot be met).
    pub fn is_for_us(&self) -> bool {
        matches!(self.qualifier, None | Some("any" | "native" | "amd64" | "all"))
    }

    /// Whether `version` will do.
    pub fn admits(&self, version: &DebVersion<'_>) -> bool {
        self.constraint.as_ref().is_none_or(|constraint| constraint.admits(version))
    }

    /// Whether something provided will do: an unversioned provision only meets an unversioned relation (policy §7.5).
    pub fn admits_provided(&self, version: Option<&DebVersion<'_>>) -> bool {
        version.map_or(self.constraint.is_none(), |version| self.admits(version))
    }
}

impl Constraint<'_> {
    fn admits(&self, version: &DebVersion<'_>) -> bool {
        let order = version.rank(&self.version);
        match self.operator {
            Operator::Earlier => order == Ordering::Less,
            Operator::EarlierOrEqual => order != Ordering::Greater,
            Operator::Exactly => order == Ordering::Equal,
            Operator::LaterOrEqual => order != Ordering::Less,
            Operator::Later => order == Ordering::Greater,
        }
    }
}

impl fmt::Display for Dependency<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, relation) in self.0.iter().enumerate() {
            write!(f, "{}{relation}", if at == 0 { "" } else { " | " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.constraint {
            Some(constraint) => write!(f, " ({} {})", constraint.operator, constraint.version),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Exactly => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(field: &str) -> Vec<String> {
        relations(field).unwrap().iter().map(Dependency::to_string).collect()
    }

    #[test]
    fn the_forms_of_policy_are_read() {
        assert_eq!(
            printed(
                "libc6 (>= 2.38), python3:any,\n default-mta | mail-transport-agent , a1 (=1:2-3)|b2(<<4~)"
            ),
            [
                "libc6 (>= 2.38)",
                "python3:any",
                "default-mta | mail-transport-agent",
                "a1 (= 1:2-3) | b2 (<< 4~)"
            ]
        );
        assert!(printed("").is_empty());
        assert_eq!(printed("aa,"), ["aa"]);
    }

    #[test]
    fn other_forms_are_refused() {
        for bad in [
            "aa (>= )",
            "aa (1.0)",
            "aa (>= 1.0",
            "aa [amd64]",
            "aa | ",
            "aa bb",
            "aa (<> 1)",
            "aa:",
            "aa:b c",
        ] {
            assert!(relations(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn provisions_without_a_version_meet_only_relations_without_one() {
        let read = relations("awk, awk (>= 2)").unwrap();
        let two = DebVersion::parse("2").unwrap();
        assert!(read[0].0[0].admits_provided(None) && read[0].0[0].admits_provided(Some(&two)));
        assert!(!read[1].0[0].admits_provided(None) && read[1].0[0].admits_provided(Some(&two)));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(any in "\\PC*", near in "(aa|[|]|,|[(]|[)]|>=|<<|1|:| |é){0,12}") {
            let _ = relations(&any);
            if let Ok(read) = relations(&near) {
                let again = read.iter().map(Dependency::to_string).collect::<Vec<_>>().join(", ");
                prop_assert_eq!(relations(&again).unwrap(), read.clone());
            }
        }
    }
}
