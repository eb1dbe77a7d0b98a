package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tandem/internal/client"
	"tandem/internal/voice/phone"
)

// startCarrier puts the telephone network up.
func (d *demo) startCarrier(context.Context) (err error) {
	d.carrier, err = newCarrier(d.o.Log)
	return err
}

// sipUDP is where the server takes SIP over UDP.
func (d *demo) sipUDP() (netip.AddrPort, error) {
	for _, address := range d.server.Addrs().SIP {
		if hostPort, ok := strings.CutPrefix(address, "udp://"); ok {
			return netip.ParseAddrPort(hostPort)
		}
	}
	return netip.AddrPort{}, errors.New("the server takes no SIP over UDP")
}

func (d *demo) callThere(ctx context.Context) error {
	d.say.title("A calls the virtual number and reaches B")
	return d.talk(ctx, conversation{caller: partyA, callee: partyB, to: virtualNumber})
}

func (d *demo) callWithPIN(ctx context.Context) error {
	d.say.title("A calls the third number, is asked for the PIN, presses it, and reaches B")
	return d.talk(ctx, conversation{caller: partyA, callee: partyB, to: pinNumber, pin: d.pin.PIN})
}

func (d *demo) callBack(ctx context.Context) error {
	d.say.title("B calls back the number he saw and reaches A")
	return d.talk(ctx, conversation{caller: partyB, callee: partyA, to: virtualNumber})
}

// A conversation is one call through the server, seen from both ends.
type conversation struct {
	caller, callee party
	to             string // the virtual number that is called
	pin            string // "" if none is asked for
	out, in        *phone.Call
}

// talk makes a call and checks everything about it at both phones.
func (d *demo) talk(ctx context.Context, c conversation) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()
	err := d.connect(ctx, &c)
	if c.out != nil { // of a call that failed the ladder is what one wants to see
		l := legs{caller: c.caller.name, callee: c.callee.name, near: c.out.Ladder()}
		if c.in != nil {
			l.far = c.in.Ladder()
		}
		d.say.ladder(l)
	}
	if err != nil {
		return err
	}
	d.checkIdentities(c)
	d.checkAudio(c.caller, c.callee, c.out)
	d.checkAudio(c.callee, c.caller, c.in)
	if c.pin != "" {
		d.say.check(c.in.Digits() == "", "no digit of the PIN reached %s", c.callee.name)
	}
	return d.say.failure()
}

// connect makes the call, lets both sides speak and hangs up.
func (d *demo) connect(ctx context.Context, c *conversation) error {
	sip, err := d.sipUDP()
	if err != nil {
		return err
	}
	arrival := d.carrier.next(c.callee.number)
	tone := phone.Sine(c.caller.hz, volume)
	invite := phone.Invite{From: c.caller.number, To: c.to, Via: sip}
	if c.pin == "" {
		invite.Audio = tone
	}
	if c.out, err = d.carrier.phone.Dial(ctx, invite); err != nil {
		return err
	}
	defer func() { // for a call that fails half-way; else it is over
		leaving, done := context.WithTimeout(context.Background(), goodbye)
		defer done()
		_ = c.out.Hangup(leaving)
	}()
	if c.pin != "" {
		if err := enter(ctx, c.out, c.pin); err != nil {
			return err
		}
		c.out.Say(tone)
	}
	select {
	case c.in = <-arrival:
	case <-c.out.Done():
		return errors.Join(fmt.Errorf("%s did not ring", c.callee.name), c.out.Answered(ctx))
	case <-ctx.Done():
		return fmt.Errorf("%s did not ring: %w", c.callee.name, ctx.Err())
	}
	for _, moment := range []struct {
		what string
		wait func() error
	}{
		{c.caller.name + " hears no ringing", func() error { return c.rings(ctx) }},
		{c.callee.name + " is not connected", func() error { return c.in.Answered(ctx) }},
		{c.caller.name + " is not connected", func() error { return c.out.Answered(ctx) }},
		{c.caller.name + " does not hear " + c.callee.name, func() error { return hears(ctx, c.out, c.callee.hz) }},
		{c.callee.name + " does not hear " + c.caller.name, func() error { return hears(ctx, c.in, c.caller.hz) }},
		{c.caller.name + " hears too little", func() error { return c.out.Hears(ctx, len(c.out.Heard())+samples(minimum)) }},
		{c.callee.name + " hears too little", func() error { return c.in.Hears(ctx, samples(minimum)) }},
		{c.caller.name + " cannot hang up", func() error { return c.out.Hangup(ctx) }},
		{c.callee.name + " is not told of the end", func() error { _, err := c.in.Ended(ctx); return err }},
	} {
		if err := moment.wait(); err != nil {
			return fmt.Errorf("%s: %w", moment.what, err)
		}
	}
	return nil
}

// enter waits until the caller is asked, and presses the PIN.
func enter(ctx context.Context, call *phone.Call, pin string) error {
	if err := call.Answered(ctx); err != nil {
		return fmt.Errorf("nobody asks for the PIN: %w", err)
	}
	if err := call.Hears(ctx, samples(asking)); err != nil {
		return fmt.Errorf("no question is heard: %w", err)
	}
	return call.Press(ctx, pin, phone.Press{})
}

// rings waits until the caller's phone rings; one who was asked for a PIN is
// answered already, and hears it ring.
func (c conversation) rings(ctx context.Context) error {
	if c.pin != "" {
		return nil
	}
	return c.out.Ringing(ctx)
}

// hears waits for a tone. Without it, it tells what came instead.
func hears(ctx context.Context, call *phone.Call, hz float64) error {
	err := call.HearsTone(ctx, hz)
	if err != nil {
		h := call.Hearing()
		return fmt.Errorf("%w (%d packets, %d from strangers)", err, h.Packets, h.Strays)
	}
	return nil
}

func samples(d time.Duration) int { return int(d * phone.Rate / time.Second) }

// checkIdentities compares what each side was shown with what it may know.
func (d *demo) checkIdentities(c conversation) {
	saw := c.in.Seen()
	d.say.check(saw.From == c.to && saw.RequestUser == c.callee.number,
		"%s was rung at %s and sees as caller ID %s", c.callee.name, saw.RequestUser, saw.From)
	d.say.check(silentAbout(c.in, c.caller), "in the %d messages and packets that %s got, the number of %s does not occur",
		len(c.in.Raw()), c.callee.name, c.caller.name)
	d.say.check(silentAbout(c.out, c.callee), "in the %d messages and packets that %s got, the number of %s does not occur",
		len(c.out.Raw()), c.caller.name, c.callee.name)
}

// silentAbout looks for a number in everything that a phone has received: its
// digits without the country code, which all spellings share.
func silentAbout(call *phone.Call, p party) bool {
	const countryCode = len("+91")
	return !slices.ContainsFunc(call.Raw(), func(b []byte) bool { return bytes.Contains(b, []byte(p.number[countryCode:])) })
}

// checkAudio listens to what one side has heard of the other.
func (d *demo) checkAudio(listener, speaker party, call *phone.Call) {
	heard := call.Heard()
	all, last := len(heard), samples(minimum)-samples(settle) // words and ring-back may have come before
	heard = heard[max(0, all-last):]
	tone, own := phone.Tone(heard, speaker.hz), phone.Tone(heard, listener.hz)
	d.say.check(tone > 0.9 && own < 0.05 && all >= samples(minimum),
		"%s heard %.1f s, of the energy at the end %.1f %% at %.0f Hz, the tone of %s; %d packets, %d lost", listener.name,
		float64(all)/phone.Rate, 100*tone, speaker.hz, speaker.name, call.Hearing().Packets, call.Hearing().Lost)
}

// readRecords reads what the server has written down about all this.
func (d *demo) readRecords(ctx context.Context) error {
	d.say.title("What is on record")
	var calls client.List[client.CallRecord]
	err := until(ctx, func() (done bool, err error) {
		calls, err = d.api.Calls(ctx, tenant, client.CallFilter{GreenVNID: d.allocation.GreenVNID, Status: "ended"})
		return len(calls.Items) >= 2, err
	})
	if err != nil {
		return fmt.Errorf("two ended calls: %w", err)
	}
	slices.Reverse(calls.Items) // newest first
	for i, want := range []struct {
		direction string
		from, to  party
	}{{"from_to", partyA, partyB}, {"to_from", partyB, partyA}} {
		call := calls.Items[i]
		right := call.Direction == want.direction && call.From == want.from.number && call.To == want.to.number &&
			call.CallType == "completed" && call.Cause == "caller_hung_up" && call.OnCallDuration >= int64(minimum/time.Second)-1
		d.say.check(right, "GET …/calls: %s to %s, %s, %s, rang %d s, talked %d s", call.From, call.To, call.CallType, call.Cause,
			call.DialCallDuration, call.OnCallDuration)
	}
	allocation, err := d.api.Allocation(ctx, tenant, d.allocation.GreenVNID)
	if err != nil {
		return err
	}
	d.say.check(len(calls.Items) == 2 && allocation.CallCount == 2 && allocation.Calls.Connected == 2,
		"GET …/greenvn/%s: call_count %d, of them connected %d", allocation.GreenVNID, allocation.CallCount, allocation.Calls.Connected)
	return d.readEvents(ctx)
}

// readEvents looks at what was told of each call, and of the allocations, in order. How
// the end of a call and what is asked for meanwhile lie to each other is nobody's promise.
func (d *demo) readEvents(ctx context.Context) error {
	const total = 3*3 + 2
	var types []string
	told := map[string][]string{}            // by call; "" for allocations
	err := until(ctx, func() (bool, error) { // the last call's end may just be on its way
		events, err := d.api.Events(ctx, tenant, client.EventFilter{Page: client.Page{Limit: 100}})
		types = types[:0]
		clear(told)
		for _, e := range events.Items {
			if !strings.HasPrefix(e.Type, "recording.") { // which come when their file is stored
				types = append(types, e.Type)
				told[e.CallSID] = append(told[e.CallSID], e.Type)
			}
		}
		return len(types) >= total, err
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	right := len(types) == total && len(told) == 4
	for call, list := range told {
		want := []string{"call.ringing", "call.answered", "call.completed"}
		if call == "" {
			want = []string{"greenvn.created", "greenpin.created"}
		}
		right = right && slices.Equal(list, want)
	}
	d.say.check(right, "GET …/events: %s", strings.Join(types, ", "))
	return d.say.failure()
}

// until asks again and again, for what is written down after the fact.
func until(ctx context.Context, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// whatNext ends the demo with what a reader can do now.
func (d *demo) whatNext() {
	d.say.title("Everything above happened over real sockets and was checked at the phones.")
	d.say.line("  Not in this release yet: a console.")
	if d.o.Once {
		return
	}
	sip, err := d.sipUDP()
	if err != nil { // it was asked for before
		return
	}
	d.carrier.tell(func(call *phone.Call) {
		d.say.line("  the carrier's phone %s took a call; it saw caller ID %s and heard %.1f s", call.Seen().RequestUser,
			call.Seen().From, float64(len(call.Heard()))/phone.Rate)
	})
	d.say.title("Try it: the server and the phones stay up until Ctrl-C")
	d.say.line("  the API, to read:     %s/docs", d.baseURL())
	d.say.line("  for your shell:       server=%s sip=%s account_sid=%s token=%s", d.server.Addrs().HTTP, sip, d.credentials.AccountSID,
		d.credentials.Token)
	d.say.line("  call as A:            %s call --from %s --to %s --via %s --show-numbers", d.o.Command, partyA.number, virtualNumber, sip)
	d.say.line("  with the PIN, from any phone: %s call --from +919900000009 --to %s --via %s --pin %s --show-numbers", d.o.Command, pinNumber, sip, d.pin.PIN)
	d.say.line("  the calls so far:     %s calls list --server %s --tenant %s --account-sid %s --token %s", d.o.Command, d.baseURL(),
		tenant, d.credentials.AccountSID, d.credentials.Token)
	d.say.line("  another allocation, on the second number:")
	d.say.line("")
	d.say.line("    curl -u %s:%s -H 'Content-Type: application/json' \\", d.credentials.AccountSID, d.credentials.Token)
	d.say.line("      %s/v1/tenants/%s/greenvn \\", d.baseURL(), tenant)
	d.say.line(`      -d '{"caller_id_number": "%s", "from": ["+919900000003"], "to": ["+918800000004"], "duration": 3600}'`, spareNumber)
	d.say.line("")
	d.say.line("  then call through it: %s call --from +919900000003 --to %s --via %s --show-numbers", d.o.Command, spareNumber, sip)
	d.say.line("")
}
