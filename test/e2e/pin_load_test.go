package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"

	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// crowded is how many enter a PIN on one number at once.
const crowded = 200

// crowd is what its callers wait for.
type crowd struct {
	*stage
	door    chan struct{} // lets a few in at a time: a server on a busy machine refuses a rush
	asked   sync.WaitGroup
	talking sync.WaitGroup
}

// visit is one caller's way to the one his PIN belongs to.
type visit struct {
	from, to string // who calls, and whom he has to reach
	pin      world.Pin
	how      phone.Way
	called   chan *phone.Call // that have reached to
}

// Of the callers some are one side of their pair, some the other, and some nobody
// that the pair knows; half tell their keys by INFO. While the PINs are entered all
// calls are up, and all are up again when all talk.
func TestAPINOpensItsOwnPairForEachOfACrowdAtOnce(t *testing.T) {
	visits, complete := map[string]*visit{}, make(chan struct{}) // by to
	// The silence of four hundred phones would be most of the work. It gets lost.
	silent := func(packet []byte) bool { return packet[1]&0x7f < 96 }
	st := newStage(t, setting{sharing: "shared", in: func(o *phone.Options) { o.Lose = silent }, out: func(o *phone.Options) {
		o.Lose = silent
		o.OnCall = func(c *phone.Call) {
			<-complete
			if v := visits[c.Seen().RequestUser]; v == nil || c.Answer(phone.Reply{}) != nil {
				_ = c.Reject(404, "")
			} else {
				v.called <- c
			}
			<-c.Done()
		}
	}})
	for i := range crowded {
		v := st.visitor(i)
		visits[v.to] = v
	}
	close(complete)
	cr := &crowd{stage: st, door: make(chan struct{}, 20)}
	cr.asked.Add(crowded)
	cr.talking.Add(crowded)
	var all sync.WaitGroup
	for _, v := range visits {
		all.Go(func() {
			if err := cr.visit(v); err != nil {
				t.Errorf("a visit by way %d: %v", v.how, err)
			}
		})
	}
	all.Wait()
	st.settle()
	st.visited(visits)
}

// visitor opens a pair and says who calls.
func (st *stage) visitor(i int) *visit {
	st.t.Helper()
	one, other := fmt.Sprintf("+9199000%05d", i), fmt.Sprintf("+9188000%05d", i)
	v := &visit{from: one, to: other, pin: st.pin(one, other, nil), called: make(chan *phone.Call, 8)}
	switch i % 4 {
	case 1:
		v.from, v.to = other, one
	case 2:
		v.from, v.to = fmt.Sprintf("+4420712%05d", i), one
	}
	if i/4%2 == 1 {
		v.how = phone.INFO
	}
	return v
}

// visit calls, enters the PIN when everybody is asked for one, and hangs up when
// everybody talks. However it ends, nobody waits for it.
func (cr *crowd) visit(v *visit) error {
	here, there := sync.OnceFunc(cr.asked.Done), sync.OnceFunc(cr.talking.Done)
	defer there()
	defer here()
	a, err := cr.enters(v)
	if err != nil {
		return fmt.Errorf("not asked: %w", err)
	}
	here()
	cr.asked.Wait()
	if err := a.Press(cr.ctx, v.pin.PIN, phone.Press{How: v.how}); err != nil {
		return fmt.Errorf("PIN: %w", err)
	}
	var b *phone.Call
	select {
	case b = <-v.called:
	case <-a.Done():
		return fmt.Errorf("hung up on before anybody was called")
	case <-cr.ctx.Done():
		return cr.ctx.Err()
	}
	if err := b.Answered(cr.ctx); err != nil {
		return fmt.Errorf("callee: %w", err)
	}
	there()
	cr.talking.Wait()
	if seen := b.Seen(); seen.From != virtual || b.Digits() != "" || len(v.called) > 0 {
		return fmt.Errorf("the callee was shown %s, %d keys and %d further calls", seen.From, len(b.Digits()), len(v.called))
	}
	if err := a.Hangup(cr.ctx); err != nil {
		return err
	}
	_, err = b.Ended(cr.ctx)
	return err
}

// enters calls and waits until he is asked.
func (cr *crowd) enters(v *visit) (*phone.Call, error) {
	cr.door <- struct{}{}
	defer func() { <-cr.door }()
	in := phone.Invite{From: v.from, To: virtual, Via: cr.SIP(cr.network)}
	if v.how == phone.INFO {
		in.Codecs = []string{"PCMA"}
	}
	c, err := cr.in.Dial(cr.ctx, in)
	if err != nil {
		return nil, err
	}
	return c, c.Answered(cr.ctx)
}

// visited holds the records against the visits.
func (st *stage) visited(visits map[string]*visit) {
	st.t.Helper()
	calls, err := st.Calls("acme")
	st.must(err)
	if len(calls) != len(visits) {
		st.t.Errorf("%d records of %d visits", len(calls), len(visits))
	}
	var pins []string
	for _, c := range calls {
		v := visits[c.To]
		if v == nil || c.From != v.from || c.Pin != v.pin.ID || c.Cause != "caller_hung_up" {
			st.t.Errorf("record %+v", c)
		} else {
			pins = append(pins, v.pin.PIN)
		}
	}
	digits := regexp.MustCompile(`\b(` + strings.Join(pins, "|") + `)\b`)
	for line := range strings.Lines(st.Log.String()) {
		var fields map[string]any
		st.must(json.Unmarshal([]byte(line), &fields))
		delete(fields, "time")
		for name, value := range fields {
			if text, ok := value.(string); ok && digits.MatchString(text) {
				st.t.Errorf("a PIN stands in the log, as %s", name)
			}
		}
	}
}
