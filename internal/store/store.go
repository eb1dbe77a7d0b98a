// Package store is the port to the database: what the use cases of control and
// voice/callflow ask of it, in the words of masking. Engines (store/sqlite and,
// for clusters, PostgreSQL) implement it; store/storetest proves them.
//
// The database enforces the invariants: one allocation for a virtual number
// and caller, one record of a call. A use case never checks first and writes
// after; it writes, and hears of the conflict.
package store

import (
	"context"
	"errors"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
)

// ErrAway says that the database is known to be away: nobody was asked, and nothing can
// have been written.
var ErrAway = errors.New("the database is away")

// ErrShut says that this process is done with its database: nobody was asked.
var ErrShut = errors.New("this process does not use its database any more")

// Trouble is whether something that is tried again and again fails for want of the
// store. Only its changes are worth a line in a log; that the database is away is told
// by who has found it out, and not by everybody who is waiting for it.
type Trouble bool

// After takes how a try ended, and says whether trouble begins or ends with it.
func (t *Trouble) After(err error) (begins, ends bool) {
	if errors.Is(err, ErrAway) {
		return false, false
	}
	was := bool(*t)
	*t = err != nil
	return err != nil && !was, err == nil && was
}

// Store runs transactions. Its methods may be called at any time by any
// goroutine.
//
// Errors: a rule that the database enforces comes as *masking.Error (Conflict);
// a missing row as masking.ErrNotFound; everything else means that the store
// cannot answer now, and an edge shows it as Unavailable.
type Store interface {
	// View runs fn on one consistent snapshot.
	View(ctx context.Context, fn func(ctx context.Context, tx Reader) error) error
	// Update runs fn in a transaction and gives nil only when it is durable.
	// If fn gives an error, nothing of it remains. fn may run more than once
	// (a serialization failure is retried), so it must have no effect of its
	// own that a second run would double.
	Update(ctx context.Context, fn func(ctx context.Context, tx Tx) error) error
	// Route is the one read of every call: what RouteReader.Route gives, of the
	// last commit. It is one statement with no transaction around it, on
	// connections of its own: no other reader can hold it up.
	Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error)
	// Scrub makes what was removed or overwritten unreadable in the files of the
	// store itself, as far as the engine can. The error says that it cannot now:
	// somebody still reads what was.
	Scrub(ctx context.Context) error
	// Ready tells whether the store answers now.
	Ready(ctx context.Context) error
	// Close waits for running transactions and refuses new ones.
	Close() error
}

// Reader is what a View sees.
type Reader interface {
	RouteReader
	TenantReader
	NumberReader
	AllocationReader
	CallReader
	TrunkReader
	PINReader
	RecordingReader
	PromptReader
	AuditReader
	GuardReader
	WebhookReader
	ErasureReader
	RetentionReader
	NodeReader
	ShareReader
	TransferReader
}

// Tx is what an Update sees and does.
type Tx interface {
	Reader
	TenantWriter
	NumberWriter
	AllocationWriter
	Claims
	CallWriter
	TrunkWriter
	PINWriter
	RecordingWriter
	PromptWriter
	AuditWriter
	GuardWriter
	WebhookWriter
	ErasureWriter
	RetentionWriter
	NodeWriter
	ShareWriter
	RateWriter
	TransferWriter
	Replays
}

// RouteReader answers the one question of every call.
type RouteReader interface {
	// Route reads all that masking.Admit needs about a call, in one indexed
	// read: claims and allocations whatever their expiry, which Admit decides.
	// A number in nobody's pool is ErrNotFound. Never from a cache.
	Route(ctx context.Context, virtual, caller e164.Number) (masking.Route, error)
	// Silent gives the oneway allocation on virtual, live at now, in whose To the
	// caller stands; of several the newest. It claims nothing for him, so Route
	// does not find it; masking.Admit says what it means for the record.
	Silent(ctx context.Context, virtual, caller e164.Number, now time.Time) (masking.Allocation, bool, error)
	// Routes are what Route gives of callers with a claim beyond now, but for PINs: at
	// most limit, in the order of their keys, after one.
	Routes(ctx context.Context, after RouteKey, now time.Time, limit int) ([]KnownRoute, error)
}

// RouteKey is who calls, and whom.
type RouteKey struct{ Virtual, Caller e164.Number }

// KnownRoute is a route of which an allocation is found.
type KnownRoute struct {
	masking.Route
	Caller e164.Number
}

// Key is that of the route.
func (k KnownRoute) Key() RouteKey { return RouteKey{k.Number.Number, k.Caller} }

// TenantReader reads tenants and their tokens.
type TenantReader interface {
	Tenant(ctx context.Context, id masking.TenantID) (masking.Tenant, error)
	TenantBySID(ctx context.Context, sid masking.AccountSID) (masking.Tenant, []masking.Token, error)
	Tenants(ctx context.Context) ([]masking.Tenant, error)
	Tokens(ctx context.Context, id masking.TenantID) ([]masking.Token, error)
}

// TenantWriter changes tenants and their tokens.
type TenantWriter interface {
	// InsertTenant refuses a taken id or SID with Conflict already_exists.
	InsertTenant(ctx context.Context, t masking.Tenant) error
	// LockTenant is Tenant for who changes him: until the end of the transaction nobody
	// else does. Those who only read him, or create what is his, do not wait.
	LockTenant(ctx context.Context, id masking.TenantID) (masking.Tenant, error)
	UpdateTenant(ctx context.Context, t masking.Tenant) error
	// DeleteTenant removes the tenant, his tokens, announcements, endpoints and ended
	// allocations with their wrong entries, calls, events, and what is known of
	// recordings with the key that opens them. It refuses with Conflict still_in_use while he has
	// numbers in his pool, or recordings under legal hold.
	DeleteTenant(ctx context.Context, id masking.TenantID) error
	InsertToken(ctx context.Context, t masking.Token) error
	DeleteToken(ctx context.Context, tenant masking.TenantID, id masking.TokenID) error
}

// NumberReader reads the pools.
type NumberReader interface {
	// Number is one number of a tenant's pool, ErrNotFound if it is not his.
	// Within an Update it is locked until the end of the transaction.
	Number(ctx context.Context, tenant masking.TenantID, n e164.Number) (masking.VirtualNumber, error)
	Numbers(ctx context.Context, tenant masking.TenantID, after string, limit int) ([]masking.VirtualNumber, error)
	// NumberHealth is that of a number of the tenant's as it was written, ErrNotFound if
	// it is not his. It reads nothing else, and locks nothing.
	NumberHealth(ctx context.Context, tenant masking.TenantID, n e164.Number) (masking.NumberHealth, error)
	// AnyVirtual tells whether one of the numbers is in any tenant's pool. Within an
	// Update, of the given tenant, none enters one until the end of the transaction.
	AnyVirtual(ctx context.Context, tenant masking.TenantID, numbers []e164.Number) (bool, error)
	// Usable are at most limit numbers of the tenant that answer the pick and
	// that can carry these parties in an allocation by numbers: an exclusive one
	// that no live claim closes, for any caller or of a PIN; a shared one on which
	// none of them stands in a live allocation by numbers, whether or not he may
	// call in it. Least loaded first, then longest at rest; exclusive
	// ones whose last claim has run out and was not released come after those
	// that are free, longest out first.
	Usable(ctx context.Context, tenant masking.TenantID, p masking.Pick, parties []e164.Number, now time.Time, limit int) ([]masking.VirtualNumber, error)
	// Stocks are a tenant's numbers by sharing, region and type, in their order.
	Stocks(ctx context.Context, tenant masking.TenantID, now time.Time) ([]masking.Stock, error)
	// Demand is what was asked of a tenant's exclusive numbers since a time: of at most
	// limit allocations, the newest first, and its period is the time they took to come.
	Demand(ctx context.Context, tenant masking.TenantID, since, now time.Time, limit int) (masking.Demand, error)
	// EarliestRelease is the first end among what closes the tenant's numbers to
	// these parties; zero if there is nothing.
	EarliestRelease(ctx context.Context, tenant masking.TenantID, parties []e164.Number, now time.Time) (time.Time, error)
}

// NumberWriter changes the pools.
type NumberWriter interface {
	// InsertNumber refuses a number that stands in any pool with Conflict
	// already_exists, one that is a party of an active allocation of any
	// tenant with Conflict still_in_use.
	InsertNumber(ctx context.Context, n masking.VirtualNumber, now time.Time) error
	// UpdateNumber changes region, type, what strangers get, and sharing; sharing only while no
	// allocation on it is active (Conflict still_in_use).
	UpdateNumber(ctx context.Context, n masking.VirtualNumber, now time.Time) error
	// DeleteNumber refuses while an allocation on it is active (Conflict
	// still_in_use). Wrong entries on it are forgotten.
	DeleteNumber(ctx context.Context, tenant masking.TenantID, n e164.Number, now time.Time) error
	// SetNumberHealth writes the health of a number of the tenant if it still is as it
	// was read; changed tells. Nothing else writes it.
	SetNumberHealth(ctx context.Context, tenant masking.TenantID, n e164.Number, was, is masking.NumberHealth) (changed bool, err error)
	// NoteUse adds delta to the number's load and sets when it was last touched.
	NoteUse(ctx context.Context, n e164.Number, delta int, now time.Time) error
}

// AllocationFilter narrows a list; zero fields do not.
type AllocationFilter struct {
	Tenant        masking.TenantID
	Product       masking.Product // required: a list is of one API
	Status        masking.Status  // judged at Now
	VirtualNumber e164.Number
	Party         e164.Number
	Before        masking.AllocationID // the page after this one; newest first
	Limit         int
	Now           time.Time
}

// AllocationReader reads allocations.
type AllocationReader interface {
	// Allocation is one allocation of a tenant, ErrNotFound if it is not his.
	// Within an Update it is locked until the end of the transaction.
	Allocation(ctx context.Context, tenant masking.TenantID, id masking.AllocationID) (masking.Allocation, error)
	// Allocations are newest first, by id.
	Allocations(ctx context.Context, f AllocationFilter) ([]masking.Allocation, error)
	// Overdue are at most limit allocations of all tenants that have expired
	// and whose end nobody has written yet. Within an Update they are locked until the
	// end of the transaction; those that another one has locked are passed over.
	Overdue(ctx context.Context, now time.Time, limit int) ([]masking.Allocation, error)
}

// AllocationWriter changes allocations.
type AllocationWriter interface {
	InsertAllocation(ctx context.Context, a masking.Allocation) error
	// UpdateAllocation writes everything but the tally, the use, the turns and the creation.
	UpdateAllocation(ctx context.Context, a masking.Allocation) error
	// LockAllocations comes before a transaction changes several allocations, their
	// tallies too, in an order of its own: those who do so wait for each other, and do
	// not meet. Those that are not there are passed over, and "" is none.
	LockAllocations(ids []masking.AllocationID)
}

// Claims is the table behind the central rule.
type Claims interface {
	// Hold gives the allocation its place on its number: its claims become
	// exactly a.Claims(sharing), and others that it has are released. A claim
	// that has expired is taken over.
	//
	// It refuses with masking.ErrClaimed(sharing), and changes nothing, where an
	// exclusive number would carry a GreenVN and another allocation with a PIN at
	// the same time, where a PIN is another's, and where a
	// number would stand in two live allocations on the virtual number and could
	// call in one of them: a claim that another allocation holds beyond now, a
	// caller of a who stands silent in another one, a number of a.Silent() that
	// holds a claim for another one. That a silent number is silent is written by
	// InsertAllocation and UpdateAllocation, so one of them writes the same
	// allocation in the same transaction, before Hold or after it.
	Hold(ctx context.Context, a masking.Allocation, sharing masking.Sharing, now time.Time) error
	// Release gives up all claims of the allocation.
	Release(ctx context.Context, id masking.AllocationID) error
}

// CallFilter narrows a list of calls; zero fields do not, but for Tenant: a list is of
// one, or says that it is of all. Else it is refused.
type CallFilter struct {
	Tenant        masking.TenantID
	AllTenants    bool
	Allocation    masking.AllocationID
	Status        string // "" | "live" | "ended"
	Cause         masking.Cause
	Direction     masking.Direction
	VirtualNumber e164.Number
	Party         e164.Number // who called, or was rung last or answered
	Answered      *bool       // nil: either
	Recorded      *bool       // a recording of it was begun
	Since         time.Time   // of the start
	Until         time.Time
	// Before is the page after this call, newest first by start and id. A call that
	// begins meanwhile comes before all pages that are still to be read.
	Before masking.CallID
	Limit  int
}

// EventFilter narrows a list of events; zero fields do not, but for Tenant: as in
// CallFilter.
type EventFilter struct {
	Tenant masking.TenantID

	AllTenants bool

	After int64 // cursor of the last event seen
	Since time.Time
	Until time.Time
	Limit int
}

// StoredEvent is an event with its place in the tenant's order.
type StoredEvent struct {
	Cursor int64
	masking.Event
}

// CallReader reads call records and events.
type CallReader interface {
	// Call is one call of the tenant, and its ladder.
	Call(ctx context.Context, tenant masking.TenantID, id masking.CallID) (masking.Call, error)
	// AnyCall is Call for the operator: of whichever tenant the call is.
	AnyCall(ctx context.Context, id masking.CallID) (masking.Call, error)
	// Calls are without their ladders.
	Calls(ctx context.Context, f CallFilter) ([]masking.Call, error)
	// OpenCalls are at most limit calls of a node that have no end yet, those that began
	// first; 0 = all.
	OpenCalls(ctx context.Context, node string, limit int) ([]masking.Call, error)
	// OwnCalls are those of the given calls that the node carries and that have no end yet.
	// Within an Update that stays so until the end of the transaction.
	OwnCalls(ctx context.Context, node string, ids []masking.CallID) ([]masking.CallID, error)
	// MovedCalls are those of the given calls that another node than this one carries now.
	MovedCalls(ctx context.Context, node string, ids []masking.CallID) ([]masking.CallID, error)
	// CallStates are what KeepCallState kept of those of the given calls that have no
	// end yet.
	CallStates(ctx context.Context, ids []masking.CallID) (map[masking.CallID][]byte, error)
	// Events are oldest first, by cursor. Whoever has read up to a cursor misses
	// nothing: once an event can be read, no event with a lower cursor appears any
	// more, of whichever transaction. With one writer that comes by itself. An engine
	// whose transactions commit in another order than they began must give cursors as
	// they commit (one row that all of them lock last), or show no event beyond the
	// first that a transaction which is still open may yet write. A number from a
	// sequence alone does neither.
	Events(ctx context.Context, f EventFilter) ([]StoredEvent, error)
	// LastEvent is the place of the last event of all tenants; 0 before the first.
	LastEvent(ctx context.Context) (int64, error)
}

// CallWriter writes call records and events.
type CallWriter interface {
	// BeginCall inserts the record, counts the call in its allocation's tally, one that
	// is not refused also in the use of its day, and
	// makes its callee the one who began the turn of its direction, all only if the
	// record is new; fresh tells which.
	BeginCall(ctx context.Context, c masking.Call) (fresh bool, err error)
	// MatchCall writes whose call it is (allocation, direction, custom field) and counts it as BeginCall does,
	// both only if the record is open and belongs to no allocation; changed tells
	// which.
	MatchCall(ctx context.Context, c masking.Call) (changed bool, err error)
	// AnswerCall writes the answer, and that it is recorded if so, counts it, and makes its callee the one
	// who answered in the turn of its direction, all only if the call is
	// neither answered nor ended; changed tells which.
	AnswerCall(ctx context.Context, c masking.Call) (changed bool, err error)
	// KeepCallState keeps what it takes to take the call up again, in place of what
	// was kept, only while the call is answered and has no end, and is c.Node's; kept
	// tells which.
	KeepCallState(ctx context.Context, c masking.Call, state []byte) (kept bool, err error)
	// MoveCall makes a call without an end that is c.Node's one of another node; what
	// runs of a recording stays c.Node's. moved is false if it was not.
	MoveCall(ctx context.Context, c masking.Call, to string) (moved bool, err error)
	// EndCall writes the end and the talk seconds, also in the use of the day if it is still that of the call, only if the call has no end
	// yet and is c.Node's, and forgets its state; changed tells which. A call known as recorded stays so. The caller writes the terminal event if it did.
	EndCall(ctx context.Context, c masking.Call) (changed bool, err error)
	// WriteLadder writes the ladder of a call, if it is the node's, in place of the one its
	// record has. A call without a record stays without, and so does one of masking.Call.Erased.
	WriteLadder(ctx context.Context, node string, id masking.CallID, ladder []byte) error
	// AppendEvent writes an event to the outbox, once: an event whose id is there
	// is there already, since the commit that wrote it was durable and its answer
	// was lost.
	AppendEvent(ctx context.Context, e masking.Event) error
}

// PINReader answers what a PIN opens, and what a number has room for.
type PINReader interface {
	// PINCase reads all that masking.JudgePIN needs, by keys: claims and tries
	// whatever their age, which JudgePIN decides. A number in nobody's pool is
	// ErrNotFound.
	PINCase(ctx context.Context, virtual, caller e164.Number, pin masking.PIN, now time.Time) (masking.PINCase, error)
	// PINLengths are the lengths of the PINs that are live on the number, each
	// once, ascending.
	PINLengths(ctx context.Context, virtual e164.Number, now time.Time) ([]int, error)
	// PINCount is how many PINs of a length are live on the number, counted to
	// at most limit.
	PINCount(ctx context.Context, virtual e164.Number, length int, now time.Time, limit int) (int, error)
	// PINFree tells whether no live PIN on the number is this one, begins with it
	// or is its beginning: with either, whoever pauses while he enters the longer
	// one would open the other. Within an Update it holds to the end of the
	// transaction: no other one claims a PIN on the number before.
	PINFree(ctx context.Context, virtual e164.Number, pin masking.PIN, now time.Time) (bool, error)
}

// PINWriter counts wrong entries.
type PINWriter interface {
	// CountWrong adds one wrong entry to each; those of whom the last is older than
	// masking.TriesOf.Forgets begin anew.
	CountWrong(ctx context.Context, whose []masking.TriesOf, now time.Time) error
	// ForgetWrong forgets the wrong entries against an allocation, of one caller or,
	// with a zero caller, of all. With a caller, also those that he made on the
	// virtual number as a stranger.
	ForgetWrong(ctx context.Context, a masking.Allocation, caller e164.Number) error
	// ForgetTries removes at most limit counts whose last entry is before the given time.
	ForgetTries(ctx context.Context, before time.Time, limit int) (int, error)
}

// RecordingReader reads what is known of recordings.
type RecordingReader interface {
	// Recording is that of a tenant's call, ErrNotFound if there is none. Within an Update
	// it is locked until the end of the transaction.
	Recording(ctx context.Context, tenant masking.TenantID, call masking.CallID) (masking.Recording, error)
	// StoredBefore are at most limit recordings of the tenant that are stored, not
	// held, and were begun before the given time; oldest first.
	StoredBefore(ctx context.Context, tenant masking.TenantID, before time.Time, limit int) ([]masking.Recording, error)
	// RunningRecordings are those without an end of calls that the node carried when
	// they began: when the node starts, recordings that its last run left.
	RunningRecordings(ctx context.Context, node string) ([]masking.Recording, error)
	// DeletedWithSound are at most limit recordings of all tenants that are deleted
	// and still have a Key: their sound is not yet gone from the blob store. Those
	// first deleted come first.
	DeletedWithSound(ctx context.Context, limit int) ([]masking.Recording, error)
	// RecordingKey is the tenant's sealed key, ErrNotFound if he has none.
	RecordingKey(ctx context.Context, tenant masking.TenantID) ([]byte, error)
}

// RecordingWriter writes what is known of recordings.
type RecordingWriter interface {
	// BeginRecording writes a recording that runs, once, and in the record of its
	// call that there is one.
	BeginRecording(ctx context.Context, r masking.Recording) error
	// EndRecording writes that a recording is stored or has failed, only if it was
	// running; changed tells which. The caller writes the event if it did. A
	// recording of which nothing was written (the store was away) is ErrNotFound.
	EndRecording(ctx context.Context, r masking.Recording) (changed bool, err error)
	// UpdateRecording writes status, deletion, legal hold and key.
	UpdateRecording(ctx context.Context, r masking.Recording) error
	// InsertRecordingKey keeps the first sealed key that a tenant is given, and
	// gives the one that is kept.
	InsertRecordingKey(ctx context.Context, tenant masking.TenantID, sealed []byte, now time.Time) ([]byte, error)
}

// Prompt is a tenant's own announcement.
type Prompt struct {
	Tenant    masking.TenantID
	Language  string
	Name      string
	Audio     []byte // the file as it was uploaded; nil in lists
	UpdatedAt time.Time
}

// PromptReader reads tenants' announcements.
type PromptReader interface {
	// Prompts are a tenant's, of all tenants with "", without their sound.
	Prompts(ctx context.Context, tenant masking.TenantID) ([]Prompt, error)
	// Prompt is one with its sound, ErrNotFound if he has none.
	Prompt(ctx context.Context, tenant masking.TenantID, language, name string) (Prompt, error)
}

// PromptWriter changes tenants' announcements.
type PromptWriter interface {
	PutPrompt(ctx context.Context, p Prompt) error // in place of the one there is
	// DeletePrompt goes back to ours; ErrNotFound if the tenant has none of his own.
	DeletePrompt(ctx context.Context, tenant masking.TenantID, language, name string) error
}

// BlockedCaller is somebody of whom a tenant lets nothing through.
type BlockedCaller struct {
	Tenant    masking.TenantID
	Number    e164.Number
	Note      string // the tenant's own words
	CreatedAt time.Time
}

// GuardReader reads what bounds fraud, apart from settings.
type GuardReader interface {
	// Pace is how many calls CountPace has counted in the window that lasts at now.
	Pace(ctx context.Context, p masking.Pace, window time.Duration, now time.Time) (calls int, err error)
	// BlockedCallers are those of a tenant after a number, in order.
	BlockedCallers(ctx context.Context, tenant masking.TenantID, after string, limit int) ([]BlockedCaller, error)
}

// GuardWriter changes what bounds fraud, apart from settings.
type GuardWriter interface {
	// BlockCaller puts a caller on the list; of one who is there it changes the note.
	BlockCaller(ctx context.Context, b BlockedCaller) error
	UnblockCaller(ctx context.Context, tenant masking.TenantID, n e164.Number) error // ErrNotFound if he is not on the list
	// CountPace counts a call and gives how many there are since the first in the
	// window. After so long the next call begins a new one.
	CountPace(ctx context.Context, p masking.Pace, window time.Duration, now time.Time) (calls int, err error)
	// ForgetPaces removes at most limit counts whose window began before the given time.
	ForgetPaces(ctx context.Context, before time.Time, limit int) (int, error)
}

// DeliveryFilter narrows a list of one endpoint's deliveries; zero fields do not.
type DeliveryFilter struct {
	Webhook masking.WebhookID // required
	Status  masking.DeliveryStatus
	Since   time.Time // of the event
	Until   time.Time
	Before  int64 // the place of the last event of the page before; newest first
	Limit   int
}

// WebhookReader reads endpoints and their deliveries. A delivery is read with its
// event: no event goes before its deliveries.
type WebhookReader interface {
	// Webhook is one endpoint of a tenant, ErrNotFound if it is not his. Within an Update
	// it is locked until the end of the transaction.
	Webhook(ctx context.Context, tenant masking.TenantID, id masking.WebhookID) (masking.Webhook, error)
	// Webhooks are those of a tenant, by id.
	Webhooks(ctx context.Context, tenant masking.TenantID) ([]masking.Webhook, error)
	// IdleWebhooks are the active endpoints of all tenants that have something to do
	// now, an event that nobody has looked at or a delivery that is due, and that no
	// other than owner has a lease of.
	IdleWebhooks(ctx context.Context, owner string, now time.Time) ([]masking.Webhook, error)
	// EventPlace is the place of one event of a tenant, ErrNotFound if it is not his.
	EventPlace(ctx context.Context, tenant masking.TenantID, id masking.EventID) (int64, error)
	// Due are at most limit pending deliveries of an endpoint that are due, those
	// due first first.
	Due(ctx context.Context, id masking.WebhookID, now time.Time, limit int) ([]masking.Delivery, error)
	// Delivery is that of the event at a place, ErrNotFound if there is none.
	Delivery(ctx context.Context, id masking.WebhookID, cursor int64) (masking.Delivery, error)
	// Deliveries are newest first, by the places of their events.
	Deliveries(ctx context.Context, f DeliveryFilter) ([]masking.Delivery, error)
	// CountDeliveries counts the deliveries of an endpoint with a status, to at most limit.
	CountDeliveries(ctx context.Context, id masking.WebhookID, s masking.DeliveryStatus, limit int) (int, error)
}

// WebhookWriter changes endpoints and their deliveries. Of the deliveries of one
// endpoint and chain (masking.Event.Chain) that are neither delivered nor dead, the
// one of the earliest event is pending and all others are queued: each change of
// one sees to it.
type WebhookWriter interface {
	InsertWebhook(ctx context.Context, w masking.Webhook) error
	// UpdateWebhook writes everything but the cursor, the tenant and the creation.
	UpdateWebhook(ctx context.Context, w masking.Webhook) error
	// DeleteWebhook removes an endpoint and its deliveries.
	DeleteWebhook(ctx context.Context, tenant masking.TenantID, id masking.WebhookID) error
	// LeaseWebhook gives owner the endpoint until then, if it is active and no other
	// has it now.
	LeaseWebhook(ctx context.Context, id masking.WebhookID, owner string, now, until time.Time) (leased bool, err error)
	// SpreadEvents looks at no more than limit events after the endpoint's cursor,
	// makes a delivery, due now, of each that it wants and moves the cursor. It tells
	// at how many it looked.
	SpreadEvents(ctx context.Context, id masking.WebhookID, now time.Time, limit int) (int, error)
	// SendAgain makes a delivery of a stored event, due now, as if the event were new
	// to the endpoint; attempts made before are kept.
	SendAgain(ctx context.Context, id masking.WebhookID, e StoredEvent, now time.Time) error
	// FinishAttempt writes what became of a delivery (masking.Delivery.After), only if
	// it was neither delivered nor dead; changed tells which.
	FinishAttempt(ctx context.Context, d masking.Delivery) (changed bool, err error)
	// ForgetDeliveries removes at most limit deliveries of all endpoints with the
	// status that ended before the given time.
	ForgetDeliveries(ctx context.Context, s masking.DeliveryStatus, before time.Time, limit int) (int, error)
}

// TrunkReader reads trunks.
type TrunkReader interface {
	// Trunk is one trunk, ErrNotFound if there is none of that name. Within an Update it
	// is locked until the end of the transaction.
	Trunk(ctx context.Context, name string) (masking.Trunk, error)
	Trunks(ctx context.Context) ([]masking.Trunk, error)
}

// TrunkWriter changes trunks.
type TrunkWriter interface {
	// InsertTrunk refuses a taken name with Conflict already_exists.
	InsertTrunk(ctx context.Context, t masking.Trunk) error
	UpdateTrunk(ctx context.Context, t masking.Trunk) error
	DeleteTrunk(ctx context.Context, name string) error
}

// ReplayFor is how long the first answer to an Idempotency-Key is kept.
const ReplayFor = 24 * time.Hour

// Replay is the first answer to a request with an Idempotency-Key.
type Replay struct {
	Tenant    masking.TenantID
	Key       string
	Digest    [32]byte // of method, path and body
	Status    int
	Body      []byte
	CreatedAt time.Time
}

// Replays keep first answers in the transaction of the change they answer.
type Replays interface {
	// Replay gives the answer kept under the key since notBefore, ErrNotFound if none.
	Replay(ctx context.Context, tenant masking.TenantID, key string, notBefore time.Time) (Replay, error)
	// KeepReplay writes an answer, also over one older than ReplayFor. It waits for another
	// transaction that keeps one under the key, and refuses with Conflict
	// idempotency_key_reused where there is one.
	KeepReplay(ctx context.Context, r Replay) error
	// ReplaysAfter are at most limit answers kept for the tenant, by key, from the one
	// after. They are locked until the end of the transaction.
	ReplaysAfter(ctx context.Context, tenant masking.TenantID, after string, limit int) ([]Replay, error)
	// RewriteReplay puts another body in place of a kept answer's.
	RewriteReplay(ctx context.Context, r Replay) error
	// ForgetReplays removes at most limit answers older than the given time.
	ForgetReplays(ctx context.Context, before time.Time, limit int) (int, error)
}
