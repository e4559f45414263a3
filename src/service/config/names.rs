//! Unknown names, and the known ones that were probably meant.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The least Jaro similarity at which a known name is suggested for an unknown one. Clap uses the same value.
const ALIKE: f64 = 0.7;

/// Returns the first of these names that no field has, in words, with the known name that is most like it.
pub(super) fn unknown<'a, T: Deserialize<'a>>(mut names: impl Iterator<Item = &'a str>) -> Option<String> {
    let known = fields::<T>();
    let unknown = names.find(|name| !known.contains(name))?;
    Some(with_nearest(unknown, known.iter().copied()))
}

/// Returns a name in quotes, with the known name that is most like it, if one is.
pub(super) fn with_nearest(name: &str, known: impl Iterator<Item = impl AsRef<str>>) -> String {
    let alike = known.map(|known| (strsim::jaro(name, known.as_ref()), known)).filter(|(alike, _)| *alike > ALIKE);
    match alike.max_by(|(one, _), (other, _)| one.total_cmp(other)) {
        Some((_, nearest)) => format!("`{}`; did you mean `{}`?", name.escape_debug(), nearest.as_ref()),
        None => format!("`{}`", name.escape_debug()),
    }
}

/// Returns the names of a structure's fields, as its `Deserialize` knows them.
pub(super) fn fields<'a, T: Deserialize<'a>>() -> &'static [&'static str] {
    let mut fields: &'static [&'static str] = &[];
    // This always fails, after it has been asked for the fields.
    let _ = T::deserialize(Asked(&mut fields));
    fields
}

/// A deserializer that notes for which fields it is asked.
struct Asked<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Asked<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("this is no structure"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        Err(Error::custom("the fields are known now"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::config::Config;

    #[test]
    fn a_name_that_is_almost_right_is_recognised() {
        assert_eq!(unknown::<Config>(["listen", "max_models"].into_iter()), None);
        let of = |name| unknown::<Config>([name].into_iter()).expect("unknown");
        assert_eq!(of("max_model"), "`max_model`; did you mean `max_models`?");
        assert_eq!(of("snapshots"), "`snapshots`; did you mean `snapshot`?");
        assert_eq!(of("zzz"), "`zzz`");
    }
}
