package webhook

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// The receivers of docs/webhooks.md, as whoever reads it runs them.
func TestTheReceiversOfTheManualTakeEventsOnceAndNothingThatIsForged(t *testing.T) {
	examples, err := filepath.Abs("../../docs/examples/webhooks")
	if err != nil {
		t.Fatal(err)
	}
	built := filepath.Join(t.TempDir(), "receiver")
	build := exec.Command("go", "build", "-o", built, ".")
	build.Dir = filepath.Join(examples, "go")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for name, command := range map[string][]string{
		"Go":     {built},
		"Node":   {"node", filepath.Join(examples, "node", "receiver.mjs")},
		"Python": {"python3", filepath.Join(examples, "python", "receiver.py")},
	} {
		t.Run(name, func(t *testing.T) {
			lines := runReceiver(t, command)
			_, addr, _ := strings.Cut(<-lines, "listening on ")
			p := newPost(t, DelivererOptions{AllowPrivate: true})
			p.o.Clock = time.Now // receivers compare it with theirs
			w := p.endpoint("acme", "wh_1", "http://"+addr+"/tandem")
			id := p.tell("acme", "gvn_a")
			p.start()
			p.deliveredWith(204)
			if line := <-lines; line != "event "+string(id)+" call.completed" {
				t.Errorf("it printed %q", line)
			}

			// Again: it is taken, and worked off once. Under two secrets, of which it knows
			// the one before.
			w.Secret, w.OldSecret, w.OldUntil = []byte("sealed for wh_1 "+oldSecret), w.Secret, time.Now().Add(time.Hour)
			p.update(func(ctx context.Context, tx store.Tx) error {
				if err := tx.UpdateWebhook(ctx, w); err != nil {
					return err
				}
				place, err := tx.EventPlace(ctx, "acme", id)
				if err != nil {
					return err
				}
				d, err := tx.Delivery(ctx, "wh_1", place)
				if err != nil {
					return err
				}
				return tx.SendAgain(ctx, "wh_1", store.StoredEvent{Cursor: place, Event: d.Event}, time.Now())
			})
			p.deliver.Nudge()
			p.deliveredWith(204)
			next := p.tell("acme", "gvn_a")
			p.deliveredWith(204)
			if line := <-lines; line != "event "+string(next)+" call.completed" {
				t.Errorf("it printed %q", line)
			}

			refusesForged(t, "http://"+addr+"/tandem")
		})
	}
}

// deliveredWith waits for an attempt that must be answered so.
func (p *post) deliveredWith(status int) {
	p.Helper()
	if d := p.next(); d.Status != masking.DeliveryDelivered || last(d).Status != status {
		p.Fatalf("%+v", last(d))
	}
}

// refusesForged sends what is signed with another secret, for another body, or long ago.
func refusesForged(t *testing.T, url string) {
	t.Helper()
	body := []byte(`{"type":"call.completed","timestamp":"2024-06-15T10:30:00Z","data":{}}`)
	for name, forge := range map[string]func() (*http.Request, error){
		"another secret": func() (*http.Request, error) {
			return signed(t.Context(), url, letter{"evt_x", time.Now(), body}, oldSecret)
		},
		"another body": func() (*http.Request, error) {
			r, err := signed(t.Context(), url, letter{"evt_x", time.Now(), body}, secret)
			if err == nil {
				other, _ := signed(t.Context(), url, letter{"evt_x", time.Now(), append(body, ' ')}, secret)
				r.Header = other.Header
			}
			return r, err
		},
		"ten minutes ago": func() (*http.Request, error) {
			return signed(t.Context(), url, letter{"evt_x", time.Now().Add(-10 * time.Minute), body}, secret)
		},
		"no signature": func() (*http.Request, error) { return signed(t.Context(), url, letter{"evt_x", time.Now(), body}) },
	} {
		r, err := forge()
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, res.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

// runReceiver starts a receiver and gives the lines that it prints.
func runReceiver(t *testing.T, command []string) <-chan string {
	t.Helper()
	cmd := exec.Command(command[0], append(command[1:], "127.0.0.1:0")...)
	cmd.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines, read := make(chan string, 100), make(chan struct{})
	go func() {
		defer close(read)
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- s.Text()
		}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-read
		_ = cmd.Wait()
	})
	return lines
}
