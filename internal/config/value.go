package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// A Listener is one address on which SIP is received.
type Listener struct {
	Network string         // "udp", "tcp" or "tls"
	Addr    netip.AddrPort // port 0 takes a free one
}

// String gives the form that is written in settings: udp://127.0.0.1:5060.
func (l Listener) String() string { return l.Network + "://" + l.Addr.String() }

func parseListeners(text string) ([]Listener, error) {
	var list []Listener
	for part := range strings.SplitSeq(text, ",") {
		l, err := parseListener(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return list, nil
}

func parseListener(text string) (Listener, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return Listener{}, fmt.Errorf("%q: wants udp://IP:PORT, tcp://IP:PORT or tls://IP:PORT", text)
	}
	if scheme != "udp" && scheme != "tcp" && scheme != "tls" {
		return Listener{}, fmt.Errorf("%q: wants udp://, tcp:// or tls:// in front", text)
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil {
		return Listener{}, fmt.Errorf("%q: wants an IP address and a port after %s://, as 127.0.0.1:5060 or [::1]:5060", text, scheme)
	}
	return Listener{Network: scheme, Addr: addr}, nil
}

func joinListeners(list []Listener) string {
	parts := make([]string, len(list))
	for i, l := range list {
		parts[i] = l.String()
	}
	return strings.Join(parts, ",")
}

// A PortRange is a range of UDP ports, both ends included. The zero PortRange
// means any free port.
type PortRange struct {
	First, Last uint16
}

// ParsePortRange takes "FIRST-LAST", or "0" for any free port. It refuses a
// range without an even port followed by its odd one, which is what RTP and
// RTCP of one leg need (RFC 3550 §11).
func ParsePortRange(text string) (PortRange, error) {
	if text == "0" {
		return PortRange{}, nil
	}
	wants := fmt.Errorf("%q: wants FIRST-LAST with ports from 1 to 65535, or 0", text)
	first, last, ok := strings.Cut(text, "-")
	if !ok {
		return PortRange{}, wants
	}
	low, err := parsePort(first)
	if err != nil {
		return PortRange{}, wants
	}
	high, err := parsePort(last)
	if err != nil {
		return PortRange{}, wants
	}
	switch r := (PortRange{First: low, Last: high}); {
	case r == PortRange{}: // 0-0
		return r, nil
	case low == 0:
		return PortRange{}, wants
	case low > high:
		return PortRange{}, fmt.Errorf("%q: the first port is above the last", text)
	case r.Pairs() == 0:
		return PortRange{}, fmt.Errorf("%q: holds no even port with the odd one after it", text)
	default:
		return r, nil
	}
}

// Pairs is how many even ports with their odd successor the range holds; 0 for
// the zero PortRange, which has no bound.
func (r PortRange) Pairs() int {
	if r == (PortRange{}) {
		return 0
	}
	firstEven := (int(r.First) + 1) &^ 1
	if pairs := (int(r.Last) - firstEven + 1) / 2; pairs > 0 {
		return pairs
	}
	return 0
}

// String gives "FIRST-LAST", or "0".
func (r PortRange) String() string {
	if r == (PortRange{}) {
		return "0"
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func parsePort(text string) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	return uint16(n), err
}

// setHostPort takes what net.Listen takes for TCP, with the port as a number.
func setHostPort(to *string, text string) error {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = parsePort(port)
	}
	if err != nil || !hostLike(host) {
		return fmt.Errorf("%q: wants HOST:PORT, as 127.0.0.1:8080, :8080 or [::1]:8080", text)
	}
	*to = text
	return nil
}

// hostLike accepts an IP address, a host name or nothing (all addresses).
func hostLike(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return true
	}
	for _, r := range host {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		if !letter && r != '-' && r != '.' {
			return false
		}
	}
	return true
}

// parseAdvertised takes an address that others shall send to.
func parseAdvertised(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("%q: wants an IP address without a port", text)
	case addr.IsUnspecified() || addr.IsMulticast():
		return netip.Addr{}, fmt.Errorf("%q: wants an address that others can send to", text)
	case addr.Zone() != "":
		return netip.Addr{}, fmt.Errorf("%q: a zone means nothing to another host", text)
	}
	return addr, nil
}

// parseFamilies takes addresses that others shall send to, at most one of a family.
func parseFamilies(text string) ([]netip.Addr, error) {
	var list []netip.Addr
	for part := range strings.SplitSeq(text, ",") {
		addr, err := parseAdvertised(strings.TrimSpace(part))
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(other netip.Addr) bool { return other.Unmap().Is4() == addr.Unmap().Is4() }) {
			return nil, fmt.Errorf("%q: wants one address of IPv4, one of IPv6, or both", text)
		}
		list = append(list, addr)
	}
	return list, nil
}

// dnsPort is where DNS servers listen.
const dnsPort = 53

func parseDNSServers(text string) ([]netip.AddrPort, error) {
	var list []netip.AddrPort
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		at, err := netip.ParseAddrPort(part)
		if addr, e := netip.ParseAddr(part); e == nil {
			at, err = netip.AddrPortFrom(addr, dnsPort), nil
		}
		if err != nil || at.Port() == 0 || at.Addr().IsUnspecified() || at.Addr().IsMulticast() {
			return nil, fmt.Errorf("%q: wants an IP address, or one with a port as 192.0.2.53:53 or [2001:db8::53]:53", part)
		}
		list = append(list, at)
	}
	if len(list) > 3 {
		return nil, fmt.Errorf("%q: wants three servers at most", text)
	}
	return list, nil
}

func dnsServersText(list []netip.AddrPort) string {
	texts := make([]string, len(list))
	for i, at := range list {
		texts[i] = at.String()
	}
	return strings.Join(texts, ",")
}

func addrTexts(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, a := range list {
		texts[i] = addrText(a)
	}
	return strings.Join(texts, ",")
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

const hidden = "(hidden)"

// A Secret is a value that is used and never shown: every way of printing,
// logging or encoding it gives "(hidden)", or nothing when it is empty.
//
// The text sits behind a pointer, because fmt reaches into unexported fields of
// a surrounding struct without asking for String; there it finds an address.
type Secret struct {
	text *string
}

// NewSecret hides text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal gives the text itself, to whoever compares or sends it.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is nothing to hide.
func (s Secret) Empty() bool { return s.text == nil }

// String never gives the text.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return hidden
}

// Format makes every verb of fmt print what String gives.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// LogValue never gives the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText never gives the text; encoding/json and YAML use it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// parseToken refuses what an Authorization header cannot carry. Its error does
// not repeat the value.
func parseToken(text string) (Secret, error) {
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return Secret{}, errors.New("may hold visible ASCII characters only, and no space")
		}
	}
	return NewSecret(text), nil
}
