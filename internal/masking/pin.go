package masking

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"tandem/internal/e164"
)

// Limits of PINs.
const (
	MinPINLength       = 4
	MaxPINLength       = 8
	MinPINDuration     = 300 * time.Second
	DefaultPINAttempts = 3
	MaxPINAttempts     = 10

	// TriesPerCall is how often one call may enter a PIN.
	TriesPerCall = 3
)

// A PIN is a secret of digits. It hides itself from logs and from printing;
// Reveal gives it to its owner.
type PIN string

// Reveal gives the digits, for the tenant and for the store.
func (p PIN) Reveal() string { return string(p) }

// String tells nothing.
func (p PIN) String() string { return "PIN" }

// Format keeps every verb of fmt from telling anything.
func (p PIN) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("PIN")) }

// LogValue tells nothing.
func (p PIN) LogValue() slog.Value { return slog.StringValue("PIN") }

// MarshalText refuses to be written by chance: what shows a PIN calls Reveal.
func (p PIN) MarshalText() ([]byte, error) { return []byte("PIN"), nil }

// Claimant is the PIN's key in the table of claims, where a caller's number
// stands otherwise. No number begins with it.
func (p PIN) Claimant() string { return "#" + string(p) }

// ParsePIN reads what a caller has entered.
func ParsePIN(digits string) (PIN, bool) {
	if len(digits) < MinPINLength || len(digits) > MaxPINLength || strings.Trim(digits, "0123456789") != "" {
		return "", false
	}
	return PIN(digits), true
}

// DrawPIN makes a PIN of a random number, which must be uniform. It may be
// trivial; see [PIN.Trivial].
func DrawPIN(length int, random uint64) PIN {
	space := uint64(1)
	for range length {
		space *= 10
	}
	return PIN(fmt.Sprintf("%0*d", length, random%space))
}

// Trivial reports whether somebody who guesses would try the PIN first: one
// digit or block again and again (0000, 1212), steps of one size (1234, 8642),
// pairs (1122), a mirror (1221), a year of our time, a row or column of the
// keypad.
func (p PIN) Trivial() bool {
	s := string(p)
	return repeats(s) || steps(s) || mirrored(s) || paired(s) || year(s) || slices.Contains(keypad, s)
}

// keypad are lines of a telephone's keys that steps does not see.
var keypad = []string{"2580", "0852", "1470", "0741", "3690", "0963", "1590", "3570", "7410", "9630", "1004"}

func repeats(s string) bool {
	for n := 1; n <= len(s)/2; n++ {
		if len(s)%n == 0 && strings.Repeat(s[:n], len(s)/n) == s {
			return true
		}
	}
	return false
}

func steps(s string) bool {
	for i := 2; i < len(s); i++ {
		if (s[i]-s[i-1]+10)%10 != (s[1]-s[0]+10)%10 {
			return false
		}
	}
	return true
}

func mirrored(s string) bool {
	for i := range len(s) / 2 {
		if s[i] != s[len(s)-1-i] {
			return false
		}
	}
	return true
}

func paired(s string) bool {
	for i := 0; i+1 < len(s); i += 2 {
		if s[i] != s[i+1] {
			return false
		}
	}
	return len(s)%2 == 0
}

func year(s string) bool {
	return len(s) == 4 && (strings.HasPrefix(s, "19") || strings.HasPrefix(s, "20"))
}

// PINsBeforeLonger is how many live PINs of a length a number carries before new
// ones get a digit more: 5 % of the length's space.
func PINsBeforeLonger(length int) int {
	n := 5
	for range length - 2 {
		n *= 10
	}
	return n
}

// CheckPINAttempts refuses a number of wrong entries that nobody may be given.
func CheckPINAttempts(n int) error {
	if n < 1 || n > MaxPINAttempts {
		return invalid(CodeInvalidField, "max_pin_attempts", "max_pin_attempts must be 1 to 10")
	}
	return nil
}

// ErrNoPIN refuses an allocation on a number whose PINs are used up.
func ErrNoPIN() *Error {
	return &Error{Kind: Exhausted, Code: CodeNoPINAvailable, Field: "caller_id_number",
		Message: "the virtual number carries as many PINs as it can"}
}

// How many wrong entries who may make, and how long after the last one they are
// forgotten. A right entry forgets none: whoever knows one PIN could otherwise
// enter it between guesses at others for ever.
const (
	StrangerTries   = 3
	AnonymousTries  = 10
	PartyForgets    = time.Hour
	StrangerForgets = 24 * time.Hour
)

// TriesOf says whose wrong entries are counted: those of a party of an
// allocation; of another caller on a number; of all who withhold their number.
type TriesOf struct {
	VirtualNumber e164.Number
	Allocation    AllocationID // "" for somebody who stands in none
	Caller        e164.Number  // zero when withheld
}

// Forgets is how long after the last wrong entry all are forgotten.
func (k TriesOf) Forgets() time.Duration {
	if k.Allocation == "" && !k.Caller.IsZero() {
		return StrangerForgets
	}
	return PartyForgets
}

// Tries are wrong entries.
type Tries struct {
	Wrong int
	Last  time.Time
}

// left is how many more may be made of most.
func (t Tries) left(most int, k TriesOf, now time.Time) int {
	if !now.Before(t.Last.Add(k.Forgets())) {
		return most
	}
	return max(0, most-t.Wrong)
}

// PartyTries are a caller's wrong entries against an allocation with a PIN in
// which he stands.
type PartyTries struct {
	Allocation AllocationID
	Most       int
	Tries
}

// PINCase is what the store knows of an entry.
type PINCase struct {
	Route              // Found: what the PIN opens, whatever its expiry; none or one
	Party []PartyTries // for each live allocation with a PIN on the number in which the caller stands
	Other Tries        // if there is none: of this caller on this number, or of all who withhold theirs
}

// PINVerdict is what becomes of an entry.
type PINVerdict struct {
	Plan    Plan      // if Refusal is ""
	Refusal Refusal   // RefusedPIN or RefusedPINLocked
	Count   []TriesOf // whose wrong entries are one more
	Left    int       // how many more this caller has
}

// JudgePIN decides on a PIN that a caller entered. Whoever has used up his
// entries is refused whatever he enters, and nobody can use up another's: wrong
// entries count against the caller in the allocations in which he stands, else
// against him on this number, else against those who withhold their number.
// What is heard is the same for wrong, expired and locked.
func JudgePIN(c PINCase, caller e164.Number, pin PIN, now time.Time) PINVerdict {
	var v PINVerdict
	against := make([]TriesOf, 0, len(c.Party)+1)
	spent := map[AllocationID]bool{}
	for _, p := range c.Party {
		k := TriesOf{c.Number.Number, p.Allocation, caller}
		left := p.left(p.Most, k, now)
		against, spent[p.Allocation] = append(against, k), left == 0
		v.Left = max(v.Left, left)
	}
	if len(c.Party) == 0 {
		k, most := TriesOf{c.Number.Number, "", caller}, StrangerTries
		if caller.IsZero() {
			most = AnonymousTries
		}
		against, v.Left = append(against, k), c.Other.left(most, k, now)
	}
	if v.Left == 0 {
		v.Refusal = RefusedPINLocked
		return v
	}
	plan, ok := c.open(caller, pin, now)
	switch {
	case !ok:
		v.Refusal, v.Count, v.Left = RefusedPIN, against, v.Left-1
	case spent[plan.Allocation.ID]:
		v.Refusal = RefusedPINLocked
	default:
		v.Plan = plan
	}
	return v
}

// open gives whom the PIN rings. A caller in From goes to To; a caller in To, or
// one who stands in neither, goes to From. The two PINs of a GreenVN allocation
// say by themselves on which side he is.
func (c PINCase) open(caller e164.Number, pin PIN, now time.Time) (Plan, bool) {
	if len(c.Found) != 1 {
		return Plan{}, false
	}
	a := c.Found[0]
	if a.VirtualNumber != c.Number.Number || a.Tenant != c.Tenant.ID || c.Number.Tenant != c.Tenant.ID ||
		a.Status(now) != Active || !slices.Contains(a.PINs(), pin) {
		return Plan{}, false
	}
	fromCalls := slices.Contains(a.From, caller)
	if a.Product() == GreenVN {
		fromCalls = a.PIN == pin
	}
	if fromCalls {
		return c.plan(a, caller, FromCalls), true
	}
	return c.plan(a, caller, ToCalls), true
}
