package b2bua

// State of a call.
type State int

// The states of a call.
const (
	Routing State = iota // asking the Director
	Asking               // the caller is answered, and asked for a PIN
	Dialing              // an attempt is out, nothing rings yet
	Ringing              // the callee's side rings
	Talking              // both sides are connected
	Parting              // the caller hears why he is not connected
	Ending               // record written, media closed; the legs' last messages are under way
	Over                 // nothing is left
	states
)

var stateNames = [states]string{"Routing", "Asking", "Dialing", "Ringing", "Talking", "Parting", "Ending", "Over"}

func (s State) String() string { return stateNames[s] }

var eventNames = [eventKinds]string{"Ringing", "Answered", "Failed", "Cancelled", "HungUp", "Offered", "Agreed", "Declined", "Withdrawn", "Moved", "Gone",
	"Blocked", "Digit", "Played", "Met", "RingTime", "TotalTime", "MediaCheck", "DigitTime", "Verify", "MaxTime", "LifeTime", "Expiry", "AllocEnded", "Terminate", "Shutdown", "Taken"}

func (k EventKind) String() string { return eventNames[k] }

// action is what a call does about an event. Each is one method of call.
type action int

const (
	ignore    action = iota
	ring             // tell the caller that it rings
	connect          // join the two sides
	hunt             // next trunk, next number, or give up
	giveUp           // the caller is told what the attempts came to
	hangUp           // end both legs for the event's reason
	renew            // answer an offer made within the call
	settle           // take in the answer to an offer of ours
	unsay            // an offer was taken back
	listen           // end the call if nobody is heard
	takeKey          // a digit of the PIN
	judge            // the PIN is complete, or was not begun in time
	awaitKeys        // the question is put: wait for its answer
	deny             // no PIN came in all the time there was
	ringBack         // nothing is said to the caller any more: let him hear that it rings
	tape             // the notice has been said: record
	passKey          // to the other side
	part             // the caller has heard why: end his leg
	join             // make two calls one
	mind             // the talk nears an end that is set: warn, or end it
	verify           // ask both sides whether they are still there
	follow           // keep where the side is now
	letGo            // without a word: the call is another node's
	countOut         // one leg less; over when none is left
)

var actionNames = map[action]string{ring: "ring the caller", connect: "join the sides", hunt: "hunt on",
	giveUp: "give up", hangUp: "end both legs", renew: "answer the offer", settle: "take the answer", unsay: "take the offer as not made", listen: "check the media",
	takeKey: "take the digit", judge: "judge the PIN, or ask again", awaitKeys: "wait for digits", deny: "refuse",
	ringBack: "let him hear ringing", tape: "record", passKey: "pass the key on", part: "end the caller's leg",
	join: "join the two calls", mind: "mind the time", verify: "ask both sides", follow: "keep it", letGo: "let go of it", countOut: "count the leg out"}

// step is a cell of the table: what to do, and where that can lead.
type step struct {
	do action
	to []State
}

// table is the whole behaviour of a call in time. A pair that is not in it is
// ignored: it comes of two messages crossing and has been settled already.
// docs/call-states.md is this table, printed.
var table = [states]map[EventKind]step{
	Asking: {
		EvDigit:     {takeKey, []State{Asking, Dialing, Parting}},
		EvDigitTime: {judge, []State{Asking, Dialing, Parting}},
		EvPlayed:    {awaitKeys, []State{Asking}},
		EvTotalTime: {deny, []State{Parting}},
		EvOffered:   {renew, []State{Asking}},
		EvAgreed:    {settle, []State{Asking, Ending}},
		EvDeclined:  {settle, []State{Asking, Ending}},
		EvWithdrawn: {unsay, []State{Asking}},
		EvHungUp:    {hangUp, []State{Ending}},
		EvBlocked:   {hangUp, []State{Ending}},
		EvShutdown:  {hangUp, []State{Ending}},
		EvGone:      {countOut, []State{Asking, Over}},
	},
	Dialing: {
		EvRinging:    {ring, []State{Ringing}},
		EvAnswered:   {connect, []State{Talking, Dialing, Parting, Ending}},
		EvFailed:     {hunt, []State{Dialing, Parting, Ending}},
		EvMet:        {join, []State{Talking}},
		EvRingTime:   {hunt, []State{Dialing, Parting, Ending}},
		EvTotalTime:  {giveUp, []State{Parting, Ending}},
		EvCancelled:  {hangUp, []State{Ending}},
		EvHungUp:     {hangUp, []State{Ending}},
		EvOffered:    {renew, []State{Dialing}},
		EvAgreed:     {settle, []State{Dialing, Ending}},
		EvDeclined:   {settle, []State{Dialing, Ending}},
		EvWithdrawn:  {unsay, []State{Dialing}},
		EvPlayed:     {ringBack, []State{Dialing}},
		EvBlocked:    {hangUp, []State{Ending}},
		EvAllocEnded: {hangUp, []State{Ending}},
		EvTerminate:  {hangUp, []State{Ending}},
		EvShutdown:   {hangUp, []State{Ending}},
		EvGone:       {countOut, []State{Dialing, Ending}},
	},
	Ringing: {
		EvRinging:    {ring, []State{Ringing}},
		EvAnswered:   {connect, []State{Talking, Ringing, Dialing, Parting, Ending}},
		EvFailed:     {hunt, []State{Ringing, Dialing, Parting, Ending}},
		EvMet:        {join, []State{Talking}},
		EvRingTime:   {hunt, []State{Dialing, Parting, Ending}},
		EvTotalTime:  {giveUp, []State{Parting, Ending}},
		EvCancelled:  {hangUp, []State{Ending}},
		EvHungUp:     {hangUp, []State{Ending}},
		EvOffered:    {renew, []State{Ringing}},
		EvAgreed:     {settle, []State{Ringing, Ending}},
		EvDeclined:   {settle, []State{Ringing, Ending}},
		EvWithdrawn:  {unsay, []State{Ringing}},
		EvPlayed:     {ringBack, []State{Ringing}},
		EvBlocked:    {hangUp, []State{Ending}},
		EvAllocEnded: {hangUp, []State{Ending}},
		EvTerminate:  {hangUp, []State{Ending}},
		EvShutdown:   {hangUp, []State{Ending}},
		EvGone:       {countOut, []State{Ringing, Ending}},
	},
	Talking: {
		EvHungUp:     {hangUp, []State{Ending}},
		EvOffered:    {renew, []State{Talking}},
		EvAgreed:     {settle, []State{Talking, Ending}},
		EvDeclined:   {settle, []State{Talking, Ending}},
		EvWithdrawn:  {unsay, []State{Talking}},
		EvDigit:      {passKey, []State{Talking}},
		EvPlayed:     {tape, []State{Talking}},
		EvMediaCheck: {listen, []State{Talking, Ending}},
		EvMaxTime:    {mind, []State{Talking, Ending}},
		EvLifeTime:   {mind, []State{Talking}},
		EvExpiry:     {mind, []State{Talking, Ending}},
		EvVerify:     {verify, []State{Talking, Ending}},
		EvMoved:      {follow, []State{Talking}},
		EvBlocked:    {hangUp, []State{Ending}},
		EvTerminate:  {hangUp, []State{Ending}},
		EvShutdown:   {hangUp, []State{Ending}},
		EvTaken:      {letGo, []State{Ending}},
		EvGone:       {countOut, []State{Talking, Ending}},
	},
	Parting: {
		EvPlayed:    {part, []State{Ending}},
		EvTotalTime: {part, []State{Ending}},
		EvCancelled: {part, []State{Ending}},
		EvHungUp:    {part, []State{Ending}},
		EvOffered:   {renew, []State{Parting}},
		EvAgreed:    {settle, []State{Parting, Ending}},
		EvDeclined:  {settle, []State{Parting, Ending}},
		EvWithdrawn: {unsay, []State{Parting}},
		EvBlocked:   {part, []State{Ending}},
		EvTerminate: {part, []State{Ending}},
		EvShutdown:  {part, []State{Ending}},
		EvGone:      {countOut, []State{Parting, Ending, Over}},
	},
	Ending: {
		EvGone: {countOut, []State{Ending, Over}},
	},
}

// next is what a call in state s does about an event of kind k.
func next(s State, k EventKind) action { return table[s][k].do }
