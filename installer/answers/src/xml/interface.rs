//! The management interface.

use std::net::Ipv4Addr;

use roxmltree::Node;
use xenolith_settings::{Addressing, StaticV4, StaticV6, V4, V6};

use super::reader::Reader;

/// What stands inside the element.
#[derive(Default)]
struct Inside {
    address: Option<String>,
    mask: Option<String>,
    gateway: Option<String>,
    address6: Option<String>,
    gateway6: Option<String>,
}

impl Reader<'_> {
    pub(super) fn admin_interface(&mut self, node: Node<'_, '_>) {
        let (mut by, mut by6) = (None, None);
        for attribute in node.attributes() {
            let value = attribute.value().trim();
            match attribute.name() {
                name @ ("name" | "hwaddr") => {
                    // The address says it whatever the kernel calls the interface.
                    if name == "hwaddr" || self.answers.network.interface.is_none() {
                        self.answers.network.interface = Some(value.to_owned());
                    }
                    self.attribute_mapped(node, name, "network.interface");
                }
                "proto" => by = Some(value.to_owned()),
                "protov6" => by6 = Some(value.to_owned()),
                "vlan" => match value.parse() {
                    Ok(vlan) => {
                        self.answers.network.vlan = Some(vlan);
                        self.attribute_mapped(node, "vlan", "network.vlan");
                    }
                    Err(_) => self.attribute_refused(node, "vlan", "no number"),
                },
                name => self.attribute_refused(node, name, "not known"),
            }
        }
        let inside = self.inside(node);
        match by.as_deref() {
            Some("static") => self.static_v4(node, &inside),
            Some("dhcp") => self.v4_by(node, Addressing::Dhcp),
            Some("none") => self.v4_by(node, Addressing::None),
            None if by6.is_some() => self.v4_by(node, Addressing::None),
            Some(_) | None => self.attribute_refused(node, "proto", "neither `static` nor `dhcp` nor `none`"),
        }
        match by6.as_deref() {
            Some("static") => match inside.address6 {
                Some(address) => {
                    let gateway = inside.gateway6.as_deref().map(str::parse);
                    match gateway.transpose() {
                        Ok(gateway) => {
                            self.answers.network.ipv6 = V6::Static(StaticV6 { address, gateway });
                            self.attribute_mapped(node, "protov6", "network.ipv6");
                        }
                        Err(_) => self.attribute_refused(node, "protov6", "`gatewayv6` is no address"),
                    }
                }
                None => self.attribute_refused(node, "protov6", "`ipv6` is missing"),
            },
            Some("dhcp") => self.v6_by(node, Addressing::Dhcp),
            Some("autoconf") => self.v6_by(node, Addressing::Auto),
            Some("none") => self.v6_by(node, Addressing::None),
            None => {}
            Some(_) => {
                self.attribute_refused(node, "protov6", "neither `static` nor `dhcp`, `autoconf` or `none`");
            }
        }
    }

    fn inside(&mut self, node: Node<'_, '_>) -> Inside {
        let mut inside = Inside::default();
        for child in node.children().filter(Node::is_element) {
            let text = self.text(child);
            let (place, to) = match child.tag_name().name() {
                "ipaddr" | "ip" => (&mut inside.address, "network.ipv4.address"),
                "subnet" | "subnet-mask" => {
                    (&mut inside.mask, "network.ipv4.address, as the length of its prefix")
                }
                "gateway" => (&mut inside.gateway, "network.ipv4.gateway"),
                "ipv6" => (&mut inside.address6, "network.ipv6.address"),
                "gatewayv6" => (&mut inside.gateway6, "network.ipv6.gateway"),
                _ => {
                    self.refused(child, "not known");
                    continue;
                }
            };
            *place = text;
            self.mapped(child, to);
        }
        inside
    }

    fn static_v4(&mut self, node: Node<'_, '_>, inside: &Inside) {
        let address = inside.address.as_deref().and_then(|text| text.parse::<Ipv4Addr>().ok());
        let prefix = inside.mask.as_deref().and_then(prefix);
        let (Some(address), Some(prefix)) = (address, prefix) else {
            let why = "`ipaddr` or `subnet` is missing or is no address and mask";
            return self.attribute_refused(node, "proto", why);
        };
        let gateway = match inside.gateway.as_deref().map(str::parse).transpose() {
            Ok(gateway) => gateway,
            Err(_) => return self.attribute_refused(node, "proto", "`gateway` is no address"),
        };
        self.answers.network.ipv4 = V4::Static(StaticV4 { address: format!("{address}/{prefix}"), gateway });
        self.attribute_mapped(node, "proto", "network.ipv4");
    }

    fn v4_by(&mut self, node: Node<'_, '_>, by: Addressing) {
        self.answers.network.ipv4 = V4::By(by);
        self.attribute_mapped(node, "proto", "network.ipv4");
    }

    fn v6_by(&mut self, node: Node<'_, '_>, by: Addressing) {
        self.answers.network.ipv6 = V6::By(by);
        self.attribute_mapped(node, "protov6", "network.ipv6");
    }
}

/// The length of a mask's prefix; nothing if its ones are not all in front.
fn prefix(mask: &str) -> Option<u32> {
    let bits = mask.parse::<Ipv4Addr>().ok()?.to_bits();
    (bits.leading_ones() == bits.count_ones()).then(|| bits.leading_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_a_prefix_if_its_ones_are_in_front() {
        assert_eq!(prefix("255.255.255.0"), Some(24));
        assert_eq!(prefix("255.255.254.0"), Some(23));
        assert_eq!(prefix("255.0.255.0"), None);
        assert_eq!(prefix("24"), None);
    }
}
