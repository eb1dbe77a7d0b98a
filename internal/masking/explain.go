package masking

// Explanation is what would become of a call if it came now, and why.
type Explanation struct {
	Ask    Ask
	Ruling Ruling // as the call would get it; of one that a PIN lets in, that of the PIN

	// Reason is Ruling.Refusal as the record of the call would have it, which knows
	// of a refused caller what routing had no need to look for.
	Reason Refusal
	// Blamed is the allocation that the reason is about: one that is over, or that
	// lets the caller be called only.
	Blamed AllocationID
	// PINAsked says that a PIN opens the number, or was asked for by a policy;
	// PINJudged that one was given, and judged without being counted.
	PINAsked  bool
	PINJudged bool
	PINsLeft  int // how many more the caller may enter, of one that was judged

	Ways  []WayOut // by which trunks the numbers would be rung, in the order to try
	Heard Heard    // by the caller of a call that is refused
}

// Heard is what a refused caller is told.
type Heard struct {
	Sound  string // name of the announcement or tone; "" = none
	Status int    // SIP status that ends his INVITE; 0 where he was answered
}

// WayState is whether a call may be sent over a trunk's address now.
type WayState string

// The states of a way out.
const (
	WayOpen   WayState = "open"
	WayDown   WayState = "down"   // it has failed several times in a row: tried last, if at all
	WayClosed WayState = "closed" // it asked to be left alone for a while (Retry-After)
	WayFull   WayState = "full"   // the trunk carries as many calls as it may; the next is tried
)

// WayOut is one address of a trunk that may show a virtual number.
type WayOut struct {
	Trunk    string
	Priority int // lower is tried first
	Weight   int // among equals each call draws the order by it
	State    WayState
	Tried    bool // a call would try it if those before it do not take it
}

// RoutingRule names what decided on a call.
type RoutingRule string

// The rules that decide on a call.
const (
	RuleNoNumber   RoutingRule = "no_number"   // the number is in no pool of the tenant's
	RuleAllocation RoutingRule = "allocation"  // the caller's number stands in an allocation
	RulePIN        RoutingRule = "pin"         // a PIN decides
	RuleStrangers  RoutingRule = "strangers"   // the policy for strangers, of the number or the tenant
	RuleLimit      RoutingRule = "limit"       // a bound on calls
	RuleUnroutable RoutingRule = "not_allowed" // whatever else refuses a call
)

// Rule tells which rule decided.
func (e Explanation) Rule() RoutingRule {
	switch e.Ruling.Refusal {
	case "":
		switch {
		case e.PINJudged:
			return RulePIN
		case e.Ruling.Plan.Allocation.ID == "":
			return RuleStrangers
		}
		return RuleAllocation
	case RefusedUnknownNumber:
		return RuleNoNumber
	case RefusedCallerBusy, RefusedCallerRate, RefusedAllocationLimit, RefusedTenantLimit, RefusedDayCalls, RefusedDayTalk, RefusedVelocity:
		return RuleLimit
	case RefusedPIN, RefusedPINLocked:
		return RulePIN
	case RefusedStranger, RefusedExpired, RefusedWrongDirection, RefusedWithheld:
		if e.PINAsked {
			return RulePIN
		}
		return RuleStrangers
	}
	return RuleUnroutable
}

// Outcome is what a caller gets.
type Outcome string

// The outcomes of a call.
const (
	OutcomeRing      Outcome = "ring"       // the targets are rung
	OutcomeAskPIN    Outcome = "ask_pin"    // he is answered and asked for a PIN
	OutcomeAskServer Outcome = "ask_server" // the tenant's own server is asked
	OutcomeRefuse    Outcome = "refuse"
)

// Outcome tells what the caller gets.
func (e Explanation) Outcome() Outcome {
	switch r := e.Ruling; {
	case r.Refusal == "":
		return OutcomeRing
	case r.Then == AskPIN:
		return OutcomeAskPIN
	case r.Then == AskWebhook:
		return OutcomeAskServer
	}
	return OutcomeRefuse
}
