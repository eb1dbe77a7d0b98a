// Package b2bua runs calls: a goroutine a call, which owns both legs, the media
// between them and the record of it all. It knows no SIP and no socket; what it
// needs of the world it declares here, and app puts it together.
package b2bua

import (
	"context"
	"net/netip"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// Invite is an incoming call in neutral words.
type Invite struct {
	masking.Ask
	Offer []byte // session description
	Hops  int    // Max-Forwards for the other leg
	Leg   Leg    // the caller's leg, not answered yet
}

// Director says where a call should go (voice/callflow).
type Director interface {
	// Route decides on a call, or refuses with a masking.Refusal; any other
	// error means that it cannot tell now. The release function, never nil
	// with a nil error, gives back what the call holds (the caller's one call
	// at a time) and must be called once, when the call is over.
	Route(ctx context.Context, a masking.Ask) (plan masking.Plan, release func(), err error)
	// Refused keeps the record of a call that Route refused; plan is what
	// Route gave with the refusal.
	Refused(a masking.Ask, plan masking.Plan, why masking.Refusal)
}

// Journal writes calls down (voice/callflow). Note never waits.
type Journal interface {
	Note(m masking.Moment, c masking.Call, zone *time.Location)
}

// Trunks gives the ways out.
type Trunks interface {
	// Outgoing are the trunks that may carry a call with this caller ID now,
	// in the order to try.
	Outgoing(callerID e164.Number) []Trunk
}

// Trunk dials.
type Trunk interface {
	Name() string
	// Dial starts a leg and returns at once; everything else is told to
	// d.Inbox, Gone last.
	Dial(d Dial) Leg
}

// Dial is one outgoing leg to be made. Nothing else of the caller's leg
// reaches it.
type Dial struct {
	Call     masking.CallID
	To       e164.Number
	CallerID e164.Number   // the virtual number
	Offer    []byte        // anchored to our relay
	Hops     int           // Max-Forwards
	Hidden   []e164.Number // must not appear in a byte sent on this leg
	Inbox    func(Event)   // never blocks
}

// Leg is one side of a call. Its methods never block and may be called in any
// state; what no longer fits is ignored.
type Leg interface {
	// Bind says where the leg's events go and which numbers must not appear in
	// a byte sent on it.
	Bind(inbox func(Event), hidden []e164.Number)
	// Ring tells an incoming leg that the other side rings.
	Ring()
	// Answer takes an incoming leg up, or answers an offer made within a call.
	Answer(body []byte)
	// RefuseOffer refuses an offer made within a call; the call stays as it was.
	RefuseOffer()
	// End ends the leg by whatever fits its state: a final response, CANCEL or
	// BYE. Gone follows when its last message is through.
	End(why Reason)
}

// Reason says why a leg is ended; the SIP side maps it to a status.
type Reason struct {
	Cause   masking.Cause
	Refusal masking.Refusal // with masking.CauseRejected
}

// EventKind is what happened to a call.
type EventKind int

// The events of a call. The first group comes from legs, the second from the
// call's own timers and from outside.
const (
	EvRinging    EventKind = iota // the callee rings
	EvAnswered                    // the callee answered; Body is his answer
	EvFailed                      // the attempt is over without answer
	EvCancelled                   // the caller gave up
	EvHungUp                      // a side hung up, or its dialog broke
	EvOffered                     // a side offers new media; Body is the offer, nil = refresh
	EvGone                        // a leg's last message is through
	EvBlocked                     // the tripwire stopped a message
	EvRingTime                    // this number has rung long enough
	EvTotalTime                   // the caller has waited long enough
	EvMediaCheck                  // time to look whether media flows
	EvAllocEnded                  // the allocation ended
	EvTerminate                   // the allocation ended and takes its calls along
	EvShutdown                    // the drain deadline passed
	eventKinds
)

// Side is one of the two legs.
type Side int

// The sides of a call.
const (
	A Side = iota // the caller
	B             // the callee
)

func (s Side) other() Side { return 1 - s }

// Event is one entry of a call's inbox. Legs leave Side and Attempt alone: the
// call stamps them as it binds a leg's inbox.
type Event struct {
	Kind    EventKind
	Side    Side
	Attempt int // which outgoing attempt, for Side B
	Body    []byte
	Status  int           // the final SIP status of EvFailed, 0 if none came
	Cause   masking.Cause // of EvFailed and EvHungUp
	Retry   bool          // EvFailed: another trunk may do better (calls.md §1.4)

	Allocation masking.AllocationID // of EvAllocEnded and EvTerminate
}

// Media opens the relay of a call.
type Media interface {
	Open() (Session, error)
}

// Session is the relay between two sides.
type Session interface {
	// Local is where a side's peer should send RTP.
	Local(Side) netip.AddrPort
	// Connect points a side at its peer; again when the peer's description changes.
	Connect(Side, Stream) error
	// LastHeard is when RTP last came from each side; zero if never.
	LastHeard() [2]time.Time
	// Close ends the relay and gives back its ports.
	Close()
}

// Stream is where and how a side takes media.
type Stream struct {
	RTP, RTCP netip.AddrPort
	Payloads  [128]uint8  // for packets that leave to this side, by the number they came with
	Clocks    [128]uint32 // RTP clock by payload number arriving from this side
	Send      bool        // the side wants to hear
	Receive   bool        // the side may speak
}
