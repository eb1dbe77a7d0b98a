package b2bua

import (
	"encoding/base64"
	"reflect"
	"slices"
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/sdp"
)

// keyed is a description whose audio has SRTP with a key of the given octet.
func keyed(body string, octet byte) string {
	key := base64.StdEncoding.EncodeToString(slices.Repeat([]byte{octet}, 30))
	return body + "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:" + key + "\r\n"
}

// connectKeyed sets up a call whose both sides talk by SRTP.
func (f *exchange) connectKeyed() {
	f.t.Helper()
	f.trunks.trunks[0].(*fakeTrunk).srtp = masking.SRTPOptional
	f.says = keyed(offerOfA, 'a')
	f.call()
	f.tell(f.b(1), Event{Kind: EvAnswered, Body: []byte(keyed(answerOfB, 'b'))})
	for _, s := range []Side{A, B} {
		if f.session().peer(s).Keys == nil {
			f.t.Fatalf("side %d talks in plain", s)
		}
	}
}

func TestAnOfferWithinACallNamesTheSuiteInUseAndItsKey(t *testing.T) {
	talkingBySRTP(t, func(t *testing.T, f *exchange) {
		used := f.session().peer(B).Keys
		f.offer(f.caller, keyed(with(offerOfA, "sendonly"), 'a'))
		if got := last(t, f.b(1).offers).Crypto; len(got) != 1 || got[0].Suite != used.Suite || !slices.Equal(got[0].Key, used.Out) {
			t.Errorf("the callee is offered %d keys", len(got))
		}
		f.agree(f.b(1), keyed(with(answerOfB, "recvonly"), 'b'))
	})
}

func TestAnOfferOfSRTPAloneWithoutAKeyIsRefusedAndTheCallGoesOn(t *testing.T) {
	talkingBySRTP(t, func(t *testing.T, f *exchange) {
		before := f.session().peer(A)
		f.offer(f.caller, strings.Replace(with(offerOfA, "sendonly"), "RTP/AVP", "RTP/SAVP", 1))
		if f.caller.refused != 1 || len(f.b(1).offers) != 0 || !reflect.DeepEqual(f.session().peer(A), before) {
			t.Errorf("%v", f.trace.all())
		}
	})
}

// With the same keys the packets of a stream would be counted from the beginning again
// under a key stream that has been used.
func TestWhoLeavesSRTPAndComesBackGetsNewKeys(t *testing.T) {
	talkingBySRTP(t, func(t *testing.T, f *exchange) {
		used := f.session().peer(B).Keys.Out
		f.offer(f.caller, keyed(with(offerOfA, "sendonly"), 'a'))
		f.agree(f.b(1), with(answerOfB, "recvonly"))
		if f.session().peer(B).Keys != nil {
			t.Fatal("the callee is sent SRTP, which he has given up")
		}
		f.offer(f.caller, keyed(offerOfA, 'a'))
		for _, c := range last(t, f.b(1).offers).Crypto {
			if slices.Equal(c.Key, used) {
				t.Error("the callee is offered a key that was in use")
			}
		}
		f.agree(f.b(1), keyed(answerOfB, 'b'))
		if k := f.session().peer(B).Keys; k == nil || slices.Equal(k.Out, used) {
			t.Errorf("the callee is sent media with the key of before, or in plain")
		}
	})
}

func TestTheStateOfACallHoldsTheKeysOfBothSides(t *testing.T) {
	talkingBySRTP(t, func(t *testing.T, f *exchange) {
		wait(0) // until the state is kept
		_, state := f.talked()
		st, err := ReadState(state)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []Side{A, B} {
			n, err := st.Sides[s].negotiated()
			if err != nil {
				t.Fatal(err)
			}
			ours, _ := n.ours.Audio()
			theirs, _ := n.theirs.Audio()
			got, err := sdp.Protected(ours, theirs)
			want := f.session().peer(s).Keys
			if err != nil || got == nil || got.Suite != want.Suite || !slices.Equal(got.In, want.In) || !slices.Equal(got.Out, want.Out) {
				t.Errorf("side %d: other keys than before, %v", s, err)
			}
		}
	})
}
