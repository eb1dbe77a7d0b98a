package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/testkit"
	"tandem/internal/testkit/ca"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// proxied is a server whose only trunk is a Kamailio that record-routes, with a
// phone on either side behind it. nonces
// names how often a nonce of its challenges to Tandem may be used; "" = there are none.
type proxied struct {
	*world.World
	t      *testing.T
	ctx    context.Context
	a, b   *phone.Phone
	called chan *phone.Call
	edge   netip.AddrPort // where phones reach Kamailio
}

func newProxied(t *testing.T, network string, nonces string) *proxied {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	p := &proxied{t: t, ctx: ctx, called: make(chan *phone.Call, 4)}
	dir := t.TempDir()
	authority := ca.New(t)
	write(t, filepath.Join(dir, "ca.pem"), authority.PEM())
	for name, address := range map[string]string{"kamailio-": "127.0.0.4", "": "127.0.0.1"} {
		cert, key := ca.PEM(t, authority.IssueToBoth(address))
		write(t, filepath.Join(dir, name+"cert.pem"), cert)
		write(t, filepath.Join(dir, name+"key.pem"), key)
	}
	var err error
	p.World, err = world.Start(world.Options{Environ: world.TLS(dir)})
	p.must(err)
	t.Cleanup(func() {
		p.must(p.World.Close(5 * time.Second))
		if t.Failed() {
			t.Logf("the server's log of calls:\n%s", p.Log.Lines(`"call"`))
		}
	})
	p.a, p.b = p.phone("127.0.0.2"), p.phone("127.0.0.3")
	target := p.startKamailio(dir, network, nonces)
	trunk := map[string]any{"sources": []string{"127.0.0.4/32"}, "targets": []string{target.String()}, "transport": network}
	if nonces != "" {
		trunk["auth"] = account
	}
	p.must(p.AddTrunk("carrier", trunk))
	_, err = p.NewTenant("acme", "exclusive", virtual)
	p.must(err)
	_, err = p.Allocate("acme", virtual, []string{alice}, []string{bob}, nil)
	p.must(err)
	return p
}

func (p *proxied) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *proxied) phone(ip string) *phone.Phone {
	p.t.Helper()
	ph, err := phone.New(phone.Options{IP: netip.MustParseAddr(ip), OnCall: world.HandTo(p.ctx, p.called)})
	p.must(err)
	p.t.Cleanup(func() { _ = ph.Close() })
	return ph
}

// startKamailio starts the proxy between the phones and the server, and ends it
// with the test. It gives where Tandem reaches it.
func (p *proxied) startKamailio(dir, network string, nonces string) netip.AddrPort {
	p.t.Helper()
	plain, secret := world.FreePort(p.t, "127.0.0.4"), world.FreePort(p.t, "127.0.0.4")
	template, err := os.ReadFile("testdata/kamailio.cfg")
	p.must(err)
	config := strings.NewReplacer("{plain}", fmt.Sprint(plain), "{tls}", fmt.Sprint(secret), "{dir}", dir, "{bob}", bob,
		"{in}", p.a.Addr().String(), "{out}", p.b.Addr().String(), "{tandem}", p.SIP(network).String(), "{network}", network, "{nonces}", nonces).Replace(string(template))
	file := filepath.Join(dir, "kamailio.cfg")
	write(p.t, file, []byte(config))
	args := []string{"-DD", "-E", "-f", file, "-Y", dir, "-P", filepath.Join(dir, "pid"), "-w", dir, "-m", "32", "-M", "4"}
	if network == "tls" {
		args = append(args, "-A", "WITH_TLS")
	}
	if nonces != "" {
		args = append(args, "-A", "WITH_AUTH")
	}
	printed := &world.Log{}
	cmd := exec.CommandContext(p.ctx, "/usr/sbin/kamailio", args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = printed, printed, 5*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	p.must(cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	p.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its workers, if it has left any
		<-ended
		if p.t.Failed() {
			p.t.Logf("kamailio printed:\n%.8000s", printed)
		}
	})
	p.edge = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.4"), plain)
	eventually(p.t, "an answer of kamailio's", func() bool {
		ctx, cancel := context.WithTimeout(p.ctx, time.Second)
		defer cancel()
		res, err := p.a.Ask(ctx, phone.Outside{Request: phone.Request{Method: "OPTIONS"}, Via: p.edge})
		return err == nil && res.Status == 200
	})
	if network == "tls" {
		return netip.AddrPortFrom(p.edge.Addr(), secret)
	}
	return p.edge
}

// reached waits for the call that a leads to.
func (p *proxied) reached(a *phone.Call) *phone.Call {
	p.t.Helper()
	select {
	case b := <-p.called:
		return b
	case <-a.Done():
		end, err := a.Ended(p.ctx)
		p.t.Fatalf("not called: %+v, %v", end, err)
	case <-p.ctx.Done():
		p.t.Fatal("nobody was called")
	}
	return nil
}

// talk places a call through the proxy and lets both hear each other.
func (p *proxied) talk(from *phone.Phone, number string) (a, b *phone.Call) {
	p.t.Helper()
	a, err := from.Dial(p.ctx, phone.Invite{From: number, To: virtual, Via: p.edge, Audio: phone.Sine(toneA, 8000)})
	p.must(err)
	b = p.reached(a)
	p.must(b.Ring(phone.Reply{}))
	p.must(a.Ringing(p.ctx))
	p.must(b.Answer(phone.Reply{Audio: phone.Sine(toneB, 8000)}))
	p.must(a.Answered(p.ctx))
	p.must(b.Answered(p.ctx))
	p.must(b.HearsTone(p.ctx, toneA))
	p.must(a.HearsTone(p.ctx, toneB))
	return a, b
}

// over waits until both have ended and the server has nothing left of the call.
func (p *proxied) over(calls ...*phone.Call) {
	p.t.Helper()
	for _, c := range calls {
		end, err := c.Ended(p.ctx)
		p.must(err)
		if end.Err != nil && !errors.Is(end.Err, context.Canceled) {
			p.t.Error(end.Err)
		}
	}
	eventually(p.t, "nothing left of the call", func() bool { return p.App.Leftovers() == app.Leftovers{} })
}

// routed checks that what a phone was sent within a call came through the proxy, by
// the Vias of it.
func (p *proxied) routed(c *phone.Call, methods ...string) {
	p.t.Helper()
	seen := map[string]int{}
	for _, s := range c.Ladder() {
		method, _, _ := strings.Cut(s.Line, " ")
		if s.Out || strings.HasPrefix(s.Line, "SIP/") {
			continue
		}
		seen[method]++
		if n := bytes.Count(s.Raw, []byte("\r\nVia: ")); n != 2 {
			p.t.Errorf("a %s has %d Vias, and not those of Tandem and of the proxy:\n%s", method, n, s.Line)
		}
	}
	for _, m := range methods {
		if seen[m] == 0 {
			p.t.Errorf("no %s came through the proxy: %v", m, seen)
		}
	}
}

func TestCallsGoThroughAKamailioThatRecordRoutes(t *testing.T) {
	for _, network := range []string{"udp", "tcp", "tls"} {
		t.Run(network, func(t *testing.T) {
			p := newProxied(t, network, "")
			for _, c := range []struct {
				name    string
				from    *phone.Phone
				number  string
				hangsUp int // 0 the caller, 1 the callee
			}{{"alice calls and hangs up", p.a, alice, 0}, {"alice calls, bob hangs up", p.a, alice, 1},
				{"bob calls and hangs up", p.b, bob, 0}, {"bob calls, alice hangs up", p.b, bob, 1}} {
				a, b := p.talk(c.from, c.number)
				p.must(a.Hold(p.ctx))
				p.must(a.Resume(p.ctx))
				p.must(b.Hold(p.ctx))
				p.must(b.Resume(p.ctx))
				p.must(b.Reinvite(p.ctx, phone.Offer{NewPort: true}))
				p.must(a.HearsTone(p.ctx, toneB))
				p.must(b.HearsTone(p.ctx, toneA))
				first, last := a, b
				if c.hangsUp == 1 {
					first, last = b, a
				}
				p.must(first.Hangup(p.ctx))
				p.over(a, b)
				p.routed(last, "BYE")
				p.routed(first)
				if last == b {
					p.routed(b, "INVITE", "ACK", "BYE")
				}
				hidden := map[*phone.Call]string{a: bob, b: alice}
				if c.number == bob {
					hidden = map[*phone.Call]string{a: alice, b: bob}
				}
				for call, number := range hidden {
					for _, raw := range call.Raw() {
						testkit.AssertNoLeak(t, testkit.NewLeakDetector(number), c.name, raw)
					}
				}
			}
			causes := map[string]int{}
			calls, err := p.Calls("acme")
			p.must(err)
			for _, c := range calls {
				causes[c.Cause]++
			}
			if len(calls) != 4 || causes["caller_hung_up"] != 2 || causes["callee_hung_up"] != 2 {
				t.Errorf("causes %v", causes)
			}
		})
	}
}

func TestACancelGoesThroughAKamailioThatRecordRoutes(t *testing.T) {
	p := newProxied(t, "tcp", "")
	a, err := p.a.Dial(p.ctx, phone.Invite{From: alice, To: virtual, Via: p.edge})
	p.must(err)
	b := p.reached(a)
	p.must(b.Ring(phone.Reply{}))
	p.must(a.Ringing(p.ctx))
	p.must(a.Hangup(p.ctx))
	p.over(a, b)
	if r := theRecord(t, p.World); r.Cause != "caller_cancelled" {
		t.Errorf("cause %q", r.Cause)
	}
}
