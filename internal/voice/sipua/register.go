package sipua

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// This file registers with a trunk, so that its carrier knows where we are
// (RFC 3261 §10.2).

// registration is that of one trunk, for as long as its settings stand.
type registration struct {
	ua     *Agent
	line   func() line // as its addresses are known now
	log    func(msg string, args ...any)
	wallet *wallet
	callID string
	tag    string

	mu      sync.Mutex
	seq     uint32
	expires time.Duration // to ask for; a carrier may want more (423)
	at      place         // where the registration was taken
	until   time.Time     // it may stand there so long
	held    RegistrationHealth

	tried []place // the addresses that there were at the last attempt

	seed  uint64        // of the order in which addresses are tried, the same each time
	moved chan struct{} // has one when there are other addresses to try
	over  chan struct{} // closed when it is taken back
}

// RegistrationHealth is how a trunk's registration does.
type RegistrationHealth struct {
	State         string    `json:"state"` // pending, registered, failing, ended
	Until         time.Time `json:"until,omitzero"`
	LastStatus    int       `json:"last_status,omitempty"` // of the last refusal; none if there was no answer
	FailuresInRow int       `json:"failures_in_row"`
}

func (ua *Agent) newRegistration(l line, now func() line) *registration {
	return &registration{ua: ua, line: now, wallet: ua.walletOf(l), callID: newTag() + newTag(), tag: newTag(),
		expires: l.Register.Expires, held: RegistrationHealth{State: "pending"}, over: make(chan struct{}),
		seed: rand.Uint64(), moved: make(chan struct{}, 1), log: ua.o.Log.With("trunk", l.Name).Info}
}

// run registers until ctx is done, and then takes the registration back. It begins
// when these are over.
func (r *registration) run(ctx context.Context, before []*registration) {
	defer close(r.over)
	for _, b := range before {
		<-b.over // in a few seconds (farewell); who waits for us, waits for them
	}
	for ctx.Err() == nil {
		select {
		case <-r.moved: // to what this attempt finds
		default:
		}
		granted, err := r.register(ctx)
		timer := time.NewTimer(r.note(granted, err))
		select {
		case <-timer.C:
		case <-r.moved:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
		}
	}
	r.end()
}

// lookAround registers at once if DNS has other addresses than at the last attempt,
// and that one had no answer, or stands where the trunk is no more.
func (r *registration) lookAround() {
	places := r.line().places
	r.mu.Lock()
	stands := r.held.State == "registered" && slices.Contains(places, r.at)
	needs := !stands && r.held.LastStatus == 0 && len(places) > 0 && !slices.Equal(places, r.tried)
	r.mu.Unlock()
	if needs {
		select {
		case r.moved <- struct{}{}:
		default:
		}
	}
}

// isOver reports whether the registration has been taken back.
func (r *registration) isOver() bool {
	select {
	case <-r.over:
		return true
	default:
		return false
	}
}

// farewell is how long the end of a registration may take.
const farewell = 2 * time.Second

// end takes the registration back if it may stand, be it that the last attempt to
// refresh it has failed.
func (r *registration) end() {
	r.mu.Lock()
	at, stands := r.at, r.ua.o.Clock().Before(r.until)
	r.held = RegistrationHealth{State: "ended"}
	r.mu.Unlock()
	if !stands {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	registrar := single(at.addr.Addr()) // of a trunk that may be gone
	r.ua.guests.count(1, registrar)
	defer r.ua.guests.count(-1, registrar)
	if res, err := r.send(ctx, at, 0); err == nil {
		r.log("registration ended", "status", res.StatusCode)
	}
}

// note keeps how an attempt went and says how long to wait for the next.
func (r *registration) note(granted time.Duration, err error) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		if r.held.State != "registered" {
			r.log("registered", "seconds", int(granted.Seconds()))
		}
		r.held = RegistrationHealth{State: "registered", Until: r.until}
		return refreshAfter(granted)
	}
	if errors.Is(err, errNowhere) && r.held.State == "pending" {
		return longestExpires // lookAround tells when DNS has found something
	}
	r.held.FailuresInRow++
	r.held.State, r.held.LastStatus = "failing", 0
	var refused *refusal
	wait := backoff(r.held.FailuresInRow, r.until.Sub(r.ua.o.Clock()))
	if errors.As(err, &refused) {
		r.held.LastStatus = refused.status
		wait = max(wait, refused.after)
	}
	if r.held.FailuresInRow == 1 { // the rest is in the health
		r.log("registration failed", "error", err.Error())
	}
	return wait
}

func (r *registration) health() RegistrationHealth {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// refreshAfter is when to register again: between five and six eighths of the time
// granted, so that several attempts fit into what is left, and not all carriers'
// customers come at once.
func refreshAfter(granted time.Duration) time.Duration {
	return granted*5/8 + rand.N(granted/8+1)
}

// The waits after failures (RFC 5626 §4.5): twice as long each time, and half of
// it drawn. While a registration stands, no more than half of what is left of it.
const (
	leastBackoff = time.Second
	baseBackoff  = 30 * time.Second
	maxBackoff   = 30 * time.Minute
)

func backoff(failures int, left time.Duration) time.Duration {
	w := min(maxBackoff, baseBackoff<<min(failures-1, 10))
	w = w/2 + rand.N(w/2+1)
	if left > 0 {
		w = min(w, max(left/2, leastBackoff))
	}
	return w
}

// refusal is a final response that is no success.
type refusal struct {
	status int
	after  time.Duration // Retry-After
}

func (r *refusal) Error() string { return "refused with " + strconv.Itoa(r.status) }

var errNowhere = errors.New("no address of the trunk is known")

// register tries the trunk's addresses until one takes the registration or refuses
// it, in the order that calls try, but always the same. What another might do better is what a call would try another
// trunk for.
func (r *registration) register(ctx context.Context) (granted time.Duration, err error) {
	err = errNowhere
	l := r.line()
	r.mu.Lock()
	r.tried = l.places
	r.mu.Unlock()
	for _, p := range l.drawn(rand.New(rand.NewPCG(r.seed, 0)).IntN) {
		granted, err = r.registerAt(ctx, p)
		var refused *refusal
		if errors.As(err, &refused) {
			if _, retry := causeOf(refused.status, false); retry {
				continue
			}
		} else if err != nil && ctx.Err() == nil {
			continue
		}
		return granted, err
	}
	return 0, err
}

// longestExpires is the longest registration that a carrier may make us ask for.
const longestExpires = 24 * time.Hour

func (r *registration) registerAt(ctx context.Context, p place) (granted time.Duration, err error) {
	for range 2 {
		r.mu.Lock()
		asked := r.expires
		r.mu.Unlock()
		res, err := r.send(ctx, p, asked)
		switch {
		case err != nil && ctx.Err() != nil: // it may be taken yet
			r.stands(p, asked)
			return 0, err
		case err != nil:
			return 0, err
		case res.StatusCode/100 == 2:
			granted := r.granted(res, asked)
			r.stands(p, granted)
			return granted, nil
		}
		least := headerSeconds(res, "Min-Expires")
		if res.StatusCode != 423 || least <= asked || least > longestExpires {
			return 0, &refusal{res.StatusCode, min(headerSeconds(res, "Retry-After"), time.Hour)}
		}
		r.mu.Lock()
		r.expires = least // RFC 3261 §10.2.8
		r.mu.Unlock()
	}
	return 0, &refusal{status: 423}
}

// stands keeps where the registration stands and how long.
func (r *registration) stands(at place, holds time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.until = at, r.ua.o.Clock().Add(holds)
}

// granted is how long the registration holds: what stands at our Contact, else in
// Expires, else what was asked for (RFC 3261 §10.2.4).
func (r *registration) granted(res *sip.Response, asked time.Duration) time.Duration {
	got := headerSeconds(res, "Expires")
	user := r.line().Register.Contact(r.line().Auth)
	for _, h := range res.GetHeaders("Contact") {
		c, ok := h.(*sip.ContactHeader)
		if !ok || c.Address.User != user {
			continue
		}
		if text, ok := c.Params.Get("expires"); ok {
			if n := seconds(text); n > 0 {
				got = time.Duration(n) * time.Second
			}
		}
	}
	if got <= 0 || got > asked {
		return asked
	}
	return got
}

func headerSeconds(res *sip.Response, name string) time.Duration {
	return time.Duration(seconds(value(res, name))) * time.Second
}

// send sends one REGISTER and waits for its final response.
func (r *registration) send(ctx context.Context, p place, expires time.Duration) (*sip.Response, error) {
	l := r.line()
	to := p.target()
	user := l.Auth.Username
	if user == "" {
		user = l.Register.Contact(l.Auth)
	}
	contact := r.ua.contact(to)
	contact.Address.User = l.Register.Contact(l.Auth)
	req := outgoingRegister{user: user, domain: l.Register.Domain, callID: r.callID, tag: r.tag, seq: r.next(),
		contact: contact, expires: expires}.build()
	return r.ua.await(ctx, req, to, &question{ua: r.ua, wallet: r.wallet, next: r.next})
}

func (r *registration) next() uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	return r.seq
}

// await sends a request outside of any call and waits for its final response, or
// until ctx is done.
func (ua *Agent) await(ctx context.Context, req *sip.Request, to siptx.Target, q *question) (*sip.Response, error) {
	over := make(chan siptx.Outcome, 1)
	q.to = to
	q.on = func(o siptx.Outcome) {
		if o.Err != nil || o.Res.StatusCode >= 200 {
			select {
			case over <- o:
			default:
			}
		}
	}
	if err := q.ask(req); err != nil {
		return nil, err
	}
	select {
	case o := <-over:
		return o.Res, o.Err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
