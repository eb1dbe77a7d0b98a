package masking

import (
	"regexp"
	"slices"
	"time"
)

// Limits of the published API and our own where it is silent.
const (
	DefaultDuration = 86400 * time.Second
	MaxDuration     = 14688000 * time.Second
	MaxParties      = 10
	MaxCustomField  = 256 // characters, not bytes
	MaxRetention    = 3650 * 24 * time.Hour
	MostCalls       = 1_000_000
	MostTalk        = 24 * time.Hour
)

// Tenant is a customer of the operator: his own numbers, tokens, allocations.
type Tenant struct {
	ID         TenantID
	AccountSID AccountSID
	Name       string
	Settings   Settings
	CreatedAt  time.Time
}

// Settings are what a tenant may differ in. The zero value of a field is
// never meant: [DefaultSettings] fills all of them.
type Settings struct {
	Zone        *time.Location // how times are written; stored by name
	RateLimit   RateLimit
	MaxDuration time.Duration // the longest life of an allocation
	RingEach    time.Duration // how long one number rings
	RingTotal   time.Duration // how long a caller hears ringing in all
	Ring        RingStrategy

	MaxCalls           int           // up at once; 0 = any number
	MaxAllocationCalls int           // up at once through one allocation; 0 = any number
	MaxCallerRate      int           // calls of one caller in a minute; 0 = any number
	MaxCall            time.Duration // how long a talk may last
	EndWithAllocation  bool          // talks end with their allocation, a minute after a warning

	Country            string // ISO 3166-1 alpha-2: whose tones a caller hears
	Language           string // of the announcements: ISO 639-1
	PINLength          int    // digits of a new PIN, while its number is not too full for it
	PINFallback        bool   // GreenVN allocations get PINs for calls from another phone
	Strangers          StrangerPolicy
	RecordingNotice    bool          // both sides hear that the call is recorded before it is
	RecordingRetention time.Duration // how long a recording is kept; 0 = until somebody deletes it
	Retention          time.Duration // how long ended allocations, calls and events are kept; 0 = as long as the tenant

	Guards Guards
}

// RateLimit bounds a tenant's API requests.
type RateLimit struct {
	PerSecond int
	Burst     int
}

// DefaultZoneName is the zone of the published examples.
const DefaultZoneName = "Asia/Kolkata"

// DefaultSettings are a new tenant's settings; zone is that of DefaultZoneName.
func DefaultSettings(zone *time.Location) Settings {
	return Settings{
		Zone:        zone,
		RateLimit:   RateLimit{PerSecond: 50, Burst: 200},
		MaxDuration: MaxDuration,
		RingEach:    20 * time.Second,
		RingTotal:   60 * time.Second,
		Ring:        Sequential,
		MaxCall:     4 * time.Hour,
		Country:     "IN",
		Language:    "en",
		PINLength:   MinPINLength,
		Strangers:   StrangerPolicy{Action: Announce},
		Guards:      Guards{Velocity: DefaultVelocity()},
	}
}

// Check refuses settings that no tenant may have.
func (s Settings) Check() error {
	switch {
	case s.RateLimit.PerSecond < 1 || s.RateLimit.PerSecond > 100_000 || s.RateLimit.Burst < 1 || s.RateLimit.Burst > 1_000_000:
		return invalid(CodeInvalidField, "rate_limit", "per_second must be 1 to 100000 and burst 1 to 1000000")
	case s.MaxDuration < time.Second || s.MaxDuration > MaxDuration:
		return invalid(CodeInvalidField, "max_duration", "max_duration must be 1 to 14688000 seconds")
	case s.RingEach < 5*time.Second || s.RingEach > 180*time.Second:
		return invalid(CodeInvalidField, "ring_seconds", "ring_seconds must be 5 to 180")
	case s.RingTotal < s.RingEach || s.RingTotal > 600*time.Second:
		return invalid(CodeInvalidField, "ring_total_seconds", "ring_total_seconds must be at least ring_seconds and at most 600")
	case !slices.Contains(RingStrategies, s.Ring):
		return invalid(CodeInvalidField, "ring_strategy", `ring_strategy must be "sequential", "simultaneous", "round_robin" or "sticky_last"`)
	case s.MaxCalls < 0 || s.MaxCalls > MostCalls:
		return invalid(CodeInvalidField, "max_calls", "max_calls must be 0 to 1000000")
	case s.MaxAllocationCalls < 0 || s.MaxAllocationCalls > MostCalls:
		return invalid(CodeInvalidField, "max_allocation_calls", "max_allocation_calls must be 0 to 1000000")
	case s.MaxCallerRate < 0 || s.MaxCallerRate > MostCalls:
		return invalid(CodeInvalidField, "max_caller_calls_per_minute", "max_caller_calls_per_minute must be 0 to 1000000")
	case s.MaxCall < time.Minute || s.MaxCall > MostTalk:
		return invalid(CodeInvalidField, "max_call_seconds", "max_call_seconds must be 60 to 86400")
	case !twoLetters(s.Country, 'A'):
		return invalid(CodeInvalidField, "country", "country must be two capital letters (ISO 3166-1), such as IN")
	case !twoLetters(s.Language, 'a'):
		return invalid(CodeInvalidField, "language", "language must be two small letters (ISO 639-1), such as en")
	case s.PINLength < MinPINLength || s.PINLength > MaxPINLength:
		return invalid(CodeInvalidField, "pin_length", "pin_length must be 4 to 8")
	case s.RecordingRetention < 0 || s.RecordingRetention > MaxRetention:
		return invalid(CodeInvalidField, "recording_retention_days", "recording_retention_days must be 0 to 3650")
	case s.Retention < 0 || s.Retention > MaxRetention:
		return invalid(CodeInvalidField, "retention_days", "retention_days must be 0 to 3650")
	case s.Retention > 0 && (s.RecordingRetention == 0 || s.RecordingRetention > s.Retention):
		return invalid(CodeInvalidField, "recording_retention_days",
			"recording_retention_days must be 1 to retention_days: a recording goes no later than the record of its call")
	case s.Strangers.Action == "":
		return invalid(CodeInvalidField, "stranger_policy", "stranger_policy must name an action")
	}
	if err := s.Guards.check(); err != nil {
		return err
	}
	return s.Strangers.Check()
}

// KeptSince is the time before which nothing is kept of what has ended; zero if all
// is kept.
func (s Settings) KeptSince(now time.Time) time.Time {
	if s.Retention == 0 {
		return time.Time{}
	}
	return now.Add(-s.Retention).Add(time.Millisecond) // due at its last moment, not after it
}

// twoLetters reports whether s is two letters of the case that first begins.
func twoLetters(s string, first byte) bool {
	return len(s) == 2 && s[0]-first < 26 && s[1]-first < 26
}

var tenantIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// ParseTenantID accepts 1 to 63 lower-case letters, digits, hyphens and
// underscores, the first no sign.
func ParseTenantID(s string) (TenantID, error) {
	if !tenantIDPattern.MatchString(s) {
		return "", invalid(CodeInvalidField, "tenant_id", "tenant_id must be 1 to 63 characters of a-z, 0-9, - and _, beginning with a letter or digit")
	}
	return TenantID(s), nil
}

// Token is a credential of a tenant. The secret itself is shown once and never
// stored: Hash is the HMAC-SHA-256 of it.
type Token struct {
	ID        TokenID
	Tenant    TenantID
	Label     string
	Hash      [32]byte
	CreatedAt time.Time
}
