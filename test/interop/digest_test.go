package interop

import (
	"bytes"
	"maps"
	"net"
	"testing"
	"time"

	"tandem/test/world"
)

// account is what the scenarios of challenges have proven.
var account = map[string]any{"username": "acme", "password": "open sesame", "realm": "carrier.example"}

// sipp works out the response by itself, and ends with an error where ours is another.
func TestACalleeHasAPasswordProvenForEveryRequestOfACall(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			play{caller: script{"caller_holds.xml", nil}, callees: []script{{"callee_challenges.xml", nil}},
				trunk: map[string]any{"auth": account}, cause: "caller_hung_up", legs: []int{200}}.perform(t, network)
		})
	}
}

func TestAProxyHasAPasswordProvenForEveryRequestOfACall(t *testing.T) {
	for nonces, want := range map[string]map[string]int{
		"nonce_count":    {"INVITE": 1}, // what follows is proven by the same nonce, counted on
		"one_time_nonce": {"INVITE": 3, "BYE": 1},
	} {
		t.Run(nonces, func(t *testing.T) {
			p := newProxied(t, "udp", nonces)
			a, b := p.talk(p.a, alice)
			p.must(a.Hold(p.ctx))
			p.must(a.Resume(p.ctx))
			p.must(a.HearsTone(p.ctx, toneB))
			p.must(a.Hangup(p.ctx))
			p.over(a, b)
			p.routed(b, "INVITE", "BYE")
			for _, raw := range b.Raw() {
				if bytes.Contains(raw, []byte("Authorization")) {
					t.Errorf("the callee was shown the carrier's credentials:\n%s", raw)
				}
			}
			r := theRecord(t, p.World)
			if r.Cause != "caller_hung_up" {
				t.Errorf("cause %s", r.Cause)
			}
			challenged := map[string]int{}
			for _, m := range r.Ladder.Messages {
				if m.Status == 407 {
					challenged[m.Method]++
				}
			}
			if !maps.Equal(challenged, want) {
				t.Errorf("the ladder shows as challenged %v, want %v", challenged, want)
			}
		})
	}
}

func TestAnAccountIsRegisteredRefreshedAndGivenUp(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			w, err := world.Start(world.Options{})
			if err != nil {
				t.Fatal(err)
			}
			registrar := world.StartSipp(t, network, "-sf", script{"registrar.xml", nil}.write(t), "-m", "1")
			eventually(t, "sipp to listen", func() bool { // who is refused by TCP tries again later than we wait
				c, err := net.Dial(network, registrar.Addr)
				if err == nil {
					_ = c.Close()
				}
				return err == nil
			})
			err = w.AddTrunk("carrier", map[string]any{"transport": network, "targets": []string{registrar.Addr}, "options_seconds": 0,
				"auth": account, "register": map[string]any{"domain": "carrier.example", "expires": 60}})
			if err != nil {
				t.Fatal(err)
			}
			var shown struct {
				Health struct {
					Registration struct {
						State string
						Until time.Time
					}
				}
			}
			eventually(t, "the refresh", func() bool { // the first registration is for two seconds
				if err := w.Do("", "GET", "/v1/admin/trunks/carrier", nil, &shown); err != nil {
					t.Fatal(err)
				}
				r := shown.Health.Registration
				return r.State == "registered" && time.Until(r.Until) > time.Minute
			})
			if err := w.Close(5 * time.Second); err != nil {
				t.Error(err)
			}
			registrar.Wait(t, 10*time.Second)
		})
	}
}
