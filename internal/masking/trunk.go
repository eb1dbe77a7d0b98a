package masking

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
)

// NumberFormat is how numbers are written on a trunk.
type NumberFormat string

// The number formats (operator.md).
const (
	FormatE164     NumberFormat = "e164"     // +91…
	FormatPlain    NumberFormat = "plain"    // 91…
	FormatNational NumberFormat = "national" // 0…
)

// Transport of a trunk's SIP.
type Transport string

// The transports that exist so far.
const (
	UDP Transport = "udp"
	TCP Transport = "tcp"
	TLS Transport = "tls"
)

// Trunk is a carrier's connection: where its calls come from and where ours go.
type Trunk struct {
	Name          string
	Sources       []netip.Prefix   // who may send us requests
	Targets       []netip.AddrPort // where we send, in order of preference
	Transport     Transport
	Country       string // ISO 3166 alpha-2, for numbers written nationally
	NumberFormat  NumberFormat
	TrustIdentity bool // P-Asserted-Identity and Remote-Party-ID are believed
	Priority      int  // lower is tried first
	Weight        int  // share among equals
	MaxCalls      int  // simultaneous outgoing calls; 0 = no limit
	MaxCPS        int  // outgoing calls started a second; 0 = no limit
	CallerIDs     []string
	SRTP          SRTP
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

var (
	trunkNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	callerIDPattern  = regexp.MustCompile(`^(\*|\+[1-9][0-9]{0,14}\*?)$`)
	countryPattern   = regexp.MustCompile(`^[A-Z]{2}$`)
)

// Check refuses a trunk that cannot work.
func (t Trunk) Check() error {
	switch {
	case !trunkNamePattern.MatchString(t.Name):
		return invalid(CodeInvalidField, "name", "name must be 1 to 63 characters of a-z, 0-9, -, _ and ., beginning with a letter or digit")
	case len(t.Sources) == 0 && len(t.Targets) == 0:
		return invalid(CodeMissingField, "sources", "a trunk needs sources, targets or both")
	case t.Transport != UDP && t.Transport != TCP && t.Transport != TLS:
		return invalid(CodeInvalidField, "transport", `transport must be "udp", "tcp" or "tls"`)
	case !countryPattern.MatchString(t.Country):
		return invalid(CodeInvalidField, "country", "country must be two capital letters (ISO 3166)")
	case t.NumberFormat != FormatE164 && t.NumberFormat != FormatPlain && t.NumberFormat != FormatNational:
		return invalid(CodeInvalidField, "number_format", `number_format must be "e164", "plain" or "national"`)
	case t.Priority < 0 || t.Weight < 0 || t.MaxCalls < 0 || t.MaxCPS < 0:
		return invalid(CodeInvalidField, "priority", "priority, weight, max_calls and max_cps must not be negative")
	}
	for _, p := range t.CallerIDs {
		if !callerIDPattern.MatchString(p) {
			return invalid(CodeInvalidField, "caller_ids", `caller_ids must be "*", E.164 numbers, or prefixes ending in "*"`)
		}
	}
	return t.SRTP.check()
}

// MayPresent reports whether the trunk may show n as caller ID.
func (t Trunk) MayPresent(n e164.Number) bool {
	return slices.ContainsFunc(t.CallerIDs, func(p string) bool {
		if prefix, ok := strings.CutSuffix(p, "*"); ok {
			return strings.HasPrefix(n.E164(), prefix)
		}
		return p == n.E164()
	})
}

// Admits reports whether a request from addr is this trunk's.
func (t Trunk) Admits(addr netip.Addr) bool {
	addr = addr.Unmap()
	return slices.ContainsFunc(t.Sources, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// OutgoingTrunks are the trunks that may carry a call showing callerID, in the
// order to try: by priority; among equals by a draw weighted as RFC 2782 does,
// draw giving a number in [0, n).
func OutgoingTrunks(trunks []Trunk, callerID e164.Number, draw func(n int) int) []Trunk {
	usable := slices.DeleteFunc(slices.Clone(trunks), func(t Trunk) bool {
		return len(t.Targets) == 0 || !t.MayPresent(callerID)
	})
	slices.SortStableFunc(usable, func(a, b Trunk) int {
		if a.Priority != b.Priority {
			return a.Priority - b.Priority
		}
		return strings.Compare(a.Name, b.Name)
	})
	for i := 0; i < len(usable); {
		j := i
		for j < len(usable) && usable[j].Priority == usable[i].Priority {
			j++
		}
		shuffleByWeight(usable[i:j], draw)
		i = j
	}
	return usable
}

func shuffleByWeight(equals []Trunk, draw func(n int) int) {
	for i := range equals {
		total := 0
		for _, t := range equals[i:] {
			total += t.Weight
		}
		if total == 0 {
			return
		}
		at := draw(total)
		for j := i; j < len(equals); j++ {
			if at -= equals[j].Weight; at < 0 {
				equals[i], equals[j] = equals[j], equals[i]
				break
			}
		}
	}
}
