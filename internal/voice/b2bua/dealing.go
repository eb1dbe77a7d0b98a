package b2bua

// This file is where the offers and answers of a call that talks can stand
// (RFC 3264, RFC 6337), as a table. What is done is in offers.go; that a leg has
// only one offer open at a time, and 491 and 500 for a second one, is the leg's
// affair.

// dealing is where a call's offers and answers stand.
type dealing int

const (
	settled   dealing = iota // no offer waits for an answer of the other side
	carried                  // a side's offer has been taken to the other side, for whose answer it waits
	voided                   // the same, but the side has taken its offer back
	following                // an offer of our own is out; nobody waits for what becomes of it
	dealings
)

var dealingNames = [dealings]string{"settled", "carried", "voided", "following"}

// move is what can happen to offers and answers.
type move int

const (
	offersSame    move = iota // an offer that changes nothing for the other side
	offersChange              // an offer that the other side has to be asked about
	asksOffer                 // a re-INVITE without offer
	crosses                   // the side that our offer is for makes one itself, in the place of ours
	crossesAsking             // the same with a re-INVITE that has none
	agrees                    // the answer to an offer that was taken to a side
	declines                  // its refusal
	withdraws                 // a side takes the offer back that is carried
	withdrawsLate             // one that is answered; nobody got the answer
	handsBack                 // one in whose answer stood an offer that is carried
	closes                    // the answer to an offer that we have put into a 2xx
	closesWithout             // an ACK that has no such answer
	moves
)

var moveNames = [moves]string{"offer that changes nothing for the other side", "offer that does", "re-INVITE without offer",
	"offer in place of ours", "re-INVITE without offer in place of ours", "answer", "refusal", "offer taken back",
	"offer taken back that is answered", "re-INVITE taken back whose 2xx holds our offer", "answer in an ACK", "ACK without the answer"}

// dealAct is what is done about a move.
type dealAct int

const (
	nothing    dealAct = iota
	answerHere         // from what the other side has
	carry              // to the other side
	offerHere          // in the 2xx
	handOver           // our offer goes into the 2xx instead
	offerAgain         // by itself
	meet               // answer each side with the offer of the other
	conclude           // answer the side that waits with what the other has agreed to
	giveWay            // answer the side that waits from what the other side has; refuse what that cannot be
	void               // nobody waits any more
	restore            // offer the other side what holds again, if it has agreed to something else
	release            // nothing has changed
	take               // take the answer in; tell the other side if its stream is another now
	takeLast           // take it in
	undo               // take what was before the offer as what holds; tell a side that has heard otherwise
	defer_             // until the present one is settled
)

var dealActNames = map[dealAct]string{nothing: "nothing", answerHere: "answer from what the other side has", carry: "ask the other side, once no ACK is to come", offerHere: "offer what the other side has",
	handOver: "offer what was to be offered", offerAgain: "offer it by itself", meet: "answer each with the other's offer", conclude: "answer with what the other side agreed to",
	giveWay: "answer from what the other side has, or refuse", void: "note it", restore: "offer what holds, if that differs",
	release: "all is as it was", take: "take it in, tell the other side if that changes its stream", takeLast: "take it in", undo: "undo it, tell whoever has heard otherwise", defer_: "wait for the present one"}

// dealStep is a cell of the table.
type dealStep struct {
	do dealAct
	to []dealing
}

// deals is the table. What is not in it cannot come, and is ignored. Where no offer
// is open then, takeUp goes on.
var deals = [dealings]map[move]dealStep{
	settled: {
		offersSame:    {answerHere, []dealing{settled}},
		offersChange:  {carry, []dealing{carried, settled}},
		asksOffer:     {offerHere, []dealing{settled}},
		withdrawsLate: {undo, []dealing{settled, following}},
		closes:        {take, []dealing{settled, following}},
		closesWithout: {nothing, []dealing{settled}},
	},
	carried: {
		offersSame:    {defer_, []dealing{carried}},
		offersChange:  {defer_, []dealing{carried}},
		asksOffer:     {defer_, []dealing{carried}},
		crosses:       {meet, []dealing{settled}},
		crossesAsking: {handOver, []dealing{carried}},
		agrees:        {conclude, []dealing{settled}},
		declines:      {giveWay, []dealing{settled}},
		withdraws:     {void, []dealing{voided}},
		withdrawsLate: {undo, []dealing{carried}},
		handsBack:     {offerAgain, []dealing{carried}},
	},
	voided: {
		offersSame:    {defer_, []dealing{voided}},
		offersChange:  {defer_, []dealing{voided}},
		asksOffer:     {defer_, []dealing{voided}},
		crosses:       {release, []dealing{settled, carried}},
		crossesAsking: {release, []dealing{settled}},
		agrees:        {restore, []dealing{settled, following}},
		declines:      {release, []dealing{settled}},
		withdrawsLate: {undo, []dealing{voided}},
		handsBack:     {release, []dealing{settled}},
	},
	following: {
		offersSame:    {defer_, []dealing{following}},
		offersChange:  {defer_, []dealing{following}},
		asksOffer:     {defer_, []dealing{following}},
		crosses:       {release, []dealing{settled, carried}},
		crossesAsking: {release, []dealing{settled}},
		agrees:        {takeLast, []dealing{settled}},
		declines:      {release, []dealing{settled}},
		withdrawsLate: {undo, []dealing{following}},
	},
}
