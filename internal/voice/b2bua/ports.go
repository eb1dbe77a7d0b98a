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
	"tandem/internal/voice/g711"
	"tandem/internal/voice/sdp"
)

// Invite is an incoming call in neutral words.
type Invite struct {
	masking.Ask
	Offer []byte       // session description
	SRTP  masking.SRTP // what the caller's trunk wants of it
	Hops  int          // Max-Forwards for the other leg
	// Diverted says that somebody's phone or network has forwarded the call to us.
	Diverted bool
	Leg      Leg // the caller's leg, not answered yet
}

// Director says where a call should go (voice/callflow).
type Director interface {
	// Route decides on a call. An error means that it cannot tell now. The release
	// function gives back what the call holds (the caller's one call at a time) and
	// must be called once, when the call is over; nil if nothing is held.
	Route(ctx context.Context, a masking.Ask) (r masking.Ruling, release func(), err error)
	// Consult carries out a ruling that leaves the decision to the tenant's own
	// server (masking.AskWebhook). Whatever goes wrong, the caller is not let in.
	// The call goes on holding what it holds.
	Consult(ctx context.Context, a masking.Ask, r masking.Ruling) masking.Ruling
	// Enter judges a PIN of a caller who was asked for one. Its ruling refuses, or
	// rings; left is how many more PINs he may enter. An error means that it
	// cannot tell now.
	Enter(ctx context.Context, a masking.Ask, pin masking.PIN) (r masking.Ruling, left int, err error)
	// PINLengths are the lengths of the PINs on the number that was called.
	PINLengths(ctx context.Context, a masking.Ask) ([]int, error)
	// Expires is when an allocation expires as it stands now; zero if its talks do
	// not end with it any more.
	Expires(ctx context.Context, tenant masking.TenantID, id masking.AllocationID) (time.Time, error)
	// Refused keeps the record of a call that no ruling rang; plan is that of the
	// ruling.
	Refused(a masking.Ask, plan masking.Plan, why masking.Refusal)
}

// Journal writes calls down (voice/callflow). It never waits.
type Journal interface {
	Note(m masking.Moment, c masking.Call, zone *time.Location)
	// Keep keeps what it takes to take a call up again that talks, in place of what
	// was kept. encode gives it, a CallState; it is called later by another
	// goroutine, or never if there is something newer by then.
	Keep(c masking.Call, encode func() ([]byte, error))
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
	// SRTP is what an offer over it says of that.
	SRTP() masking.SRTP
	// Dial starts a leg and returns at once, or as soon as it is known whether the
	// trunk has room; everything else is told to d.Inbox, Gone last.
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
	Waited   time.Duration // what the call has waited for room on trunks before
}

// Leg is one side of a call. Its methods never block and may be called in any
// state; what no longer fits is ignored.
type Leg interface {
	// Bind says where the leg's events go and which numbers must not appear in
	// a byte sent on it.
	Bind(inbox func(Event), hidden []e164.Number)
	// Ring tells an incoming leg that the other side rings.
	Ring()
	// Speak lets an incoming leg hear something before it is answered, or refused.
	Speak(body []byte)
	// Press tells a leg that talks of a key that the other side pressed.
	Press(digit byte)
	// Answer takes an incoming leg up, or answers an offer made within a call.
	Answer(body []byte)
	// RefuseOffer refuses an offer made within a call; the call stays as it was.
	RefuseOffer()
	// Offer makes an offer within a call, as soon as nothing else is open between
	// the leg and its peer. EvAgreed or EvDeclined follows, or EvOffered if the
	// peer's own offer has taken its place, or the end of the leg. It is not made to
	// a peer whose own offer the call has heard of and not answered.
	Offer(body []byte)
	// State is what it takes to go on with the leg in another process: plain data
	// of its own, for encoding/json; nil where it does not talk.
	State() any
	// Abandon ends the leg without a word to its peer, with whom somebody else goes
	// on. Gone follows.
	Abandon()
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
	EvOffered                     // a side offers new media; Body is the offer, nil = we are to offer
	EvAgreed                      // a side answers an offer of ours; Body is the answer
	EvDeclined                    // a side has refused an offer of ours, or not answered it
	EvWithdrawn                   // a side takes its offer back; if it has been answered meanwhile, the answer reached nobody
	EvMoved                       // a side is reached elsewhere from now on; nothing else is new
	EvGone                        // a leg's last message is through
	EvBlocked                     // the tripwire stopped a message
	EvDigit                       // a side pressed a key; Digit and By say which and how
	EvPlayed                      // what was said to a side is over; Attempt is which
	EvMet                         // one whom the call rings calls its caller; Guest is his call
	EvRingTime                    // this number has rung long enough
	EvTotalTime                   // the caller has waited long enough
	EvMediaCheck                  // time to look whether media flows
	EvDigitTime                   // no key has been pressed for long enough
	EvVerify                      // time to ask whether both sides are still there, after a restart
	EvMaxTime                     // the talk nears the longest that there may be, or has reached it
	EvLifeTime                    // its allocation nears its end, or has reached it
	EvExpiry                      // the Director tells when that is: Until, or with a Cause that he cannot
	EvAllocEnded                  // the allocation ended
	EvTerminate                   // the allocation ended and takes its calls along
	EvShutdown                    // the drain deadline passed
	EvTaken                       // another node carries the call now
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
	Attempt int // which outgoing attempt, for Side B; of a timer, which setting
	Body    []byte
	Status  int           // the final SIP status of EvFailed and EvDeclined, 0 if none came
	Cause   masking.Cause // of EvFailed and EvHungUp
	Retry   bool          // EvFailed: another trunk may do better
	Digit   byte          // of EvDigit: '0' to '9', '*', '#', 'A' to 'D'
	By      By            // of EvDigit

	Allocation masking.AllocationID // of EvAllocEnded and EvTerminate
	Guest      *guest               // of EvMet
	Until      time.Time            // of EvExpiry; zero: the talk does not end with its allocation
	offer      *sdp.Description     // of EvOffered, once it is read
}

// By is how a key's press was told.
type By int

// The ways to tell a press.
const (
	ByMedia By = iota // in the media: RFC 4733, or as a tone
	ByInfo            // SIP INFO
)

// Sound is something that can be said to a side: an announcement or a tone.
type Sound string

// The sounds. Announcements end by themselves, tones do not.
const (
	SoundEnterPIN     Sound = "enter_pin"
	SoundWrongPIN     Sound = "wrong_pin"
	SoundPINFailed    Sound = "pin_failed"
	SoundConnecting   Sound = "connecting"
	SoundNotAvailable Sound = "not_available"
	SoundUnreachable  Sound = "unreachable"
	SoundRecorded     Sound = "recorded"
	ToneRingBack      Sound = "ring_back"
	ToneBusy          Sound = "busy"
	ToneWarning       Sound = "warning" // the talk ends soon; it ends by itself
)

// Words are a sound as a tenant's callers hear it.
type Words struct {
	Sound    Sound
	Tenant   masking.TenantID
	Language string
	Country  string
	// Done is told when all has been said, from any goroutine, at once if the side
	// cannot be spoken to; never after Hush or other words, nor for a tone.
	Done func()
}

// Media opens the relay of a call.
type Media interface {
	Open() (Session, error)
	// Spare tells whether there is media to spare, for somebody of whom it is not
	// known whether any call of his is to be let in.
	Spare() bool
}

// Session is the relay between two sides.
type Session interface {
	// Local is where a side's peer should send RTP.
	Local(Side) netip.AddrPort
	// Connect points a side at its peer; again when the peer's description changes.
	Connect(Side, Stream) error
	// LastHeard is when RTP last came from each side; zero if never.
	LastHeard() [2]time.Time
	// Seat gives an address for somebody who may become side B; others may too.
	Seat() (Seat, error)
	// Take makes whoever was given a seat side B, in place of what it was before.
	Take(Seat) error
	// Say says something to a side in place of what the other side sends, from
	// when it is connected until all is said or Hush.
	Say(Side, Words)
	Hush(Side)
	// Listen tells of every key that a side presses in the media, by RFC 4733 where
	// it has agreed to that, else by its tones; nil listens no more. heard is
	// called on the packet path: it must not wait.
	Listen(side Side, heard func(digit byte))
	// Record keeps what both sides say to each other from now until Close.
	Record(masking.CallID, masking.TenantID)
	// State is what it takes to go on with the session in another process: plain
	// data of its own, for encoding/json.
	State() any
	// Trust says that a side is still there after a restart: it is sent to though
	// nothing has come from it since.
	Trust(Side)
	// Close ends the relay, gives back its ports and tells how the media was.
	Close() masking.Quality
}

// Seat is an address of which it is not yet known whether it becomes that of a
// side.
type Seat interface {
	// Local is where its peer should send RTP.
	Local() netip.AddrPort
	// Close gives it up. One that was taken is its session's.
	Close()
}

// Stream is where and how a side takes media.
type Stream struct {
	RTP, RTCP netip.AddrPort  // the same: both come and go by one port (RFC 5761)
	Keys      *sdp.Protection // nil = plain RTP
	Payloads  [128]uint8      // for packets that leave to this side, by the number they came with
	Tables    [128]*[256]byte // same: turns each code word of G.711; nil = as it is
	Clocks    [128]uint32     // RTP clock by payload number arriving from this side
	Laws      [128]g711.Law   // same: what is G.711
	Events    uint8           // payload number of the side's telephone-events; above 127 = it has none
	Voice     uint8           // payload number for what we say to the side by ourselves; above 127 = we cannot
	VoiceLaw  g711.Law
	Send      bool // the side wants to hear
	Receive   bool // the side may speak
}
