//go:build !linux

package relay

import "net/netip"

// rawAddr is of no use to the portable driver.
type rawAddr struct{}

func newRawAddr(netip.AddrPort) rawAddr { return rawAddr{} }

func fastest(*Engine) driver { return portable{} }
