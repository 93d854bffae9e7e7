//! From a [`Profile`] back to YAML.
use super::{KEYS, Origin, Profile};
use serde_yaml::{Mapping, Value};

impl Profile {
    /// The keys that were set (in a file, by an override, or in code to something else than the default), as YAML that
    /// reads back to the same profile, here and in LLaMA-Factory. Secrets are left out.
    pub fn to_yaml(&self) -> String {
        let defaults = Self::default();
        let mut map = Mapping::new();
        for key in KEYS {
            let value = (key.write)(self);
            let set = self.origin(key.name) != Origin::Default || value != (key.write)(&defaults);
            // A null is written only where it changes something.
            if set && !(value.is_null() && (key.write)(&defaults).is_null()) {
                map.insert(key.name.into(), value);
            }
        }
        for (name, value) in &self.origins.inert {
            map.insert((*name).into(), value.clone());
        }
        serde_yaml::to_string(&Value::Mapping(map)).unwrap_or_default()
    }
}
