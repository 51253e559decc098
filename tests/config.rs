//! Does the configuration that someone writes load, and does one with a mistake say so?

use robin::config;

fn load(text: &str) -> Result<config::model::Config, config::diagnostics::Diagnostics> {
    config::parse_yaml("robin.yaml", text, &|_| None)
}

#[test]
fn the_shipped_configuration_survives_a_conversion() {
    let shipped =
        config::load("conf/robin.yaml".as_ref()).expect("the shipped file has no mistake");
    assert_eq!(load(&config::to_yaml(&shipped)).expect("what is printed loads"), shipped);
}
