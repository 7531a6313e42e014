//! Who a node is and how it proves it: join tokens, keys, certificates, tickets, secrets wrapped
//! for one receiver, and the TLS configurations made of them (PROTOCOL "Security").
//!
//! What it is not: a policy. Who may join, which lifetime a certificate gets and which tokens are
//! revoked is decided at the root.

