// Package config is imageport's one configuration file: one struct, one
// loader. It is TOML; a key that it does not know is an error, because a
// misspelled one would silently mean the default.
//
// How to reach Temporal is not in it: that is in the environment and the
// profile file that all of Temporal's programs share. There are no secrets in
// it either: they are in the wallet.
package config
