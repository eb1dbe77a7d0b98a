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

// The number formats.
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
	// ByDNS is what the NAPTR and SRV records of a target say (RFC 3263 §4.1); UDP
	// where there are none, and for addresses.
	ByDNS Transport = "dns"
)

// Trunk is a carrier's connection: where its calls come from and where ours go.
type Trunk struct {
	Name          string
	Sources       []netip.Prefix // who may send us requests
	Targets       []Target       // where we send, in order of preference
	Transport     Transport
	Country       string // ISO 3166 alpha-2, for numbers written nationally
	NumberFormat  NumberFormat
	StripPrefixes []string // taken off a number as it comes in, the longest that fits
	AddPrefix     string   // put before the number that is rung
	TrustIdentity bool     // P-Asserted-Identity and Remote-Party-ID are believed
	Priority      int      // lower is tried first
	Weight        int      // share among equals
	MaxCalls      int      // simultaneous outgoing calls; 0 = no limit
	MaxCPS        int      // outgoing calls started a second; 0 = no limit
	CallerIDs     []string
	SRTP          SRTP
	Auth          Credentials
	Register      Registration
	OptionsEvery  time.Duration // how often its targets are asked whether they are there; 0 = never
	Takeover      Takeover
	CreatedAt     time.Time
	UpdatedAt     time.Time
}

// Credentials are what a trunk's far side asks for (RFC 3261 §22). Without a
// user name there are none.
type Credentials struct {
	Username string
	Realm    string // answered to no other; "" = to any
	Sealed   []byte // the password, under the master key and the trunk's name
}

// Registration tells a carrier where we are (RFC 3261 §10). Without a domain there
// is none.
type Registration struct {
	Domain      string // where the account is
	ContactUser string // user part of our Contact; "" = the user name of the credentials
	Expires     time.Duration
}

// Takeover says whether a talk over a trunk goes on at another node when its own has
// died: the far side is then sent a re-INVITE from an address it did not talk to before.
type Takeover string

// The words for it; none is TakeoverAuto.
const (
	TakeoverAuto Takeover = "auto" // unless the trunk registers, which ties an account to one address
	TakeoverOn   Takeover = "on"
	TakeoverOff  Takeover = "off"
)

// TakesOver reports whether a talk over the trunk may go on at another node.
func (t Trunk) TakesOver() bool {
	return t.Takeover == TakeoverOn || t.Takeover != TakeoverOff && t.Register.Domain == ""
}

// Contact is the user part of our Contact.
func (r Registration) Contact(c Credentials) string {
	if r.ContactUser != "" {
		return r.ContactUser
	}
	return c.Username
}

// What a trunk has if it is not told otherwise, and what it may have.
const (
	DefaultOptionsEvery    = 30 * time.Second
	DefaultRegisterExpires = time.Hour

	minOptionsEvery    = 5 * time.Second
	maxOptionsEvery    = time.Hour
	minRegisterExpires = time.Minute
	maxRegisterExpires = 24 * time.Hour
	maxPrefixes        = 16
)

var (
	trunkNamePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`)
	callerIDPattern  = regexp.MustCompile(`^(\*|\+[1-9][0-9]{0,14}\*?)$`)
	countryPattern   = regexp.MustCompile(`^[A-Z]{2}$`)
	prefixPattern    = regexp.MustCompile(`^[+*#0-9]{1,16}$`)
	accountPattern   = regexp.MustCompile(`^[A-Za-z0-9_.!~*'()&=+$,;?/@:#-]{1,128}$`)
	contactPattern   = regexp.MustCompile(`^[A-Za-z0-9_.+-]{1,64}$`)
	realmPattern     = regexp.MustCompile(`^[^\x00-\x1f\x7f]{0,128}$`)
)

// Check refuses a trunk that cannot work.
func (t Trunk) Check() error {
	switch {
	case !trunkNamePattern.MatchString(t.Name):
		return invalid(CodeInvalidField, "name", "name must be 1 to 63 characters of a-z, 0-9, -, _ and ., beginning with a letter or digit")
	case len(t.Sources) == 0 && len(t.Targets) == 0:
		return invalid(CodeMissingField, "sources", "a trunk needs sources, targets or both")
	case t.Transport != UDP && t.Transport != TCP && t.Transport != TLS && t.Transport != ByDNS:
		return invalid(CodeInvalidField, "transport", `transport must be "udp", "tcp", "tls" or "dns"`)
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
	if err := t.checkPrefixes(); err != nil {
		return err
	}
	if err := t.SRTP.check(); err != nil {
		return err
	}
	switch t.Takeover {
	case "", TakeoverAuto, TakeoverOn, TakeoverOff:
	default:
		return invalid(CodeInvalidField, "takeover", `takeover must be "auto", "on" or "off"`)
	}
	return t.checkAccount()
}

func (t Trunk) checkPrefixes() error {
	if len(t.StripPrefixes) > maxPrefixes {
		return invalid(CodeInvalidField, "strip_prefixes", "strip_prefixes must be at most 16")
	}
	for _, p := range t.StripPrefixes {
		if !prefixPattern.MatchString(p) {
			return invalid(CodeInvalidField, "strip_prefixes", "strip_prefixes must be 1 to 16 characters of 0-9, +, * and # each")
		}
	}
	if t.AddPrefix != "" && !prefixPattern.MatchString(t.AddPrefix) {
		return invalid(CodeInvalidField, "add_prefix", "add_prefix must be at most 16 characters of 0-9, +, * and #")
	}
	return nil
}

// checkAccount refuses credentials, registration and health checks that cannot work.
func (t Trunk) checkAccount() error {
	domain, named := ParseTarget(t.Register.Domain)
	_, err := netip.ParseAddr(t.Register.Domain)
	switch {
	case t.OptionsEvery != 0 && (t.OptionsEvery < minOptionsEvery || t.OptionsEvery > maxOptionsEvery):
		return invalid(CodeInvalidField, "options_seconds", "options_seconds must be 0, or from 5 to 3600")
	case t.Auth.Username != "" && !accountPattern.MatchString(t.Auth.Username):
		return invalid(CodeInvalidField, "auth.username", "auth.username must be 1 to 128 characters that a SIP user name may have")
	case t.Auth.Username != "" && len(t.Auth.Sealed) == 0:
		return invalid(CodeMissingField, "auth.password", "auth needs a password")
	case !realmPattern.MatchString(t.Auth.Realm):
		return invalid(CodeInvalidField, "auth.realm", "auth.realm must be at most 128 characters, none of them a control character")
	case t.Register.Domain == "":
		return nil
	case err != nil && (!named || domain.Port != 0):
		return invalid(CodeInvalidField, "register.domain", "register.domain must be a host name or an address, without a port")
	case !contactPattern.MatchString(t.Register.Contact(t.Auth)):
		return invalid(CodeInvalidField, "register.contact_user", "register.contact_user must be 1 to 64 characters of letters, digits, -, _, + and .; without one auth.username is taken")
	case t.Register.Expires < minRegisterExpires || t.Register.Expires > maxRegisterExpires:
		return invalid(CodeInvalidField, "register.expires", "register.expires must be from 60 to 86400 seconds")
	case len(t.Targets) == 0:
		return invalid(CodeMissingField, "targets", "a trunk that registers needs targets")
	}
	return nil
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
