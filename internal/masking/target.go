package masking

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Target is where a trunk is reached: an address with a port, or a name. A name
// without a port (Port 0) leaves the port to DNS (RFC 3263 §4.2).
type Target struct {
	Host string // an address as netip writes it, without brackets, or a name in lower case
	Port uint16
}

// namePattern is a name in DNS: letters, digits and hyphens (RFC 1123 §2.1), and the
// underscores that some networks use inside. Its last label is no number, or it
// would be a mistyped address.
var namePattern = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// maxName is the longest name that DNS has (RFC 1035 §2.3.4).
const maxName = 253

// ParseTarget reads "address:port", "name" or "name:port".
func ParseTarget(text string) (Target, bool) {
	if ap, err := netip.ParseAddrPort(text); err == nil {
		t := TargetAt(ap)
		return t, ap.Port() != 0 && ap.Addr().Zone() == "" && !ap.Addr().IsUnspecified()
	}
	host, port, withPort := strings.Cut(strings.ToLower(text), ":")
	t := Target{Host: strings.TrimSuffix(host, ".")}
	if withPort {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return Target{}, false
		}
		t.Port = uint16(n)
	}
	return t, len(t.Host) <= maxName && namePattern.MatchString(t.Host)
}

// TargetAt is the target at an address.
func TargetAt(ap netip.AddrPort) Target { return Target{ap.Addr().Unmap().String(), ap.Port()} }

// Address is where the target is, if it is not a name.
func (t Target) Address() (netip.AddrPort, bool) {
	addr, err := netip.ParseAddr(t.Host)
	return netip.AddrPortFrom(addr, t.Port), err == nil
}

// String writes the target as ParseTarget reads it.
func (t Target) String() string {
	if ap, ok := t.Address(); ok {
		return ap.String()
	}
	if t.Port == 0 {
		return t.Host
	}
	return t.Host + ":" + strconv.Itoa(int(t.Port))
}
