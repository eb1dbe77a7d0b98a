package e2e

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// What clients have asked of a few virtual numbers and people, and what they were told,
// is a history. It is good if there is an order of all that was asked, in which what was
// over before something else began comes before it, and in which one store that does one
// thing after the other would have given these answers.

// group is how many numbers and people a history is about. The last number is exclusive.
const (
	groupNumbers = 3
	groupPeople  = 5
)

// people is a set of them, a bit each.
type people uint8

// mapped is an allocation as the model knows it.
type mapped struct {
	label    int // by which the test knows it, from the moment it asks for it
	number   int
	from, to people
	oneway   bool
}

// callers are those of an allocation who may call; silent those who may not.
func (m mapped) callers() people {
	if m.oneway {
		return m.from
	}
	return m.from | m.to
}

func (m mapped) silent() people { return (m.from | m.to) &^ m.callers() }

// clashes tells that two allocations cannot be on their numbers at once.
func (m mapped) clashes(o mapped) bool {
	if m.label == o.label || m.number != o.number {
		return false
	}
	return m.number == groupNumbers-1 || m.callers()&(o.callers()|o.silent()) != 0 || m.silent()&o.callers() != 0
}

// request is what a client asks for: verb "create", "move" (to a number), "parties",
// "delete", "get" of an allocation; "route" of a call by the people in from.
type request struct {
	verb string
	mapped
}

// reply is what it was told. Of a "route" the mapped has the label, 0 for nobody, and in
// to who is rung; of a "get" all that an active allocation has.
type reply struct {
	told string // "done", "conflict", "ended" or "", which is no answer at all
	mapped
}

// claims is the model: those allocations that are active, by label.
func claims() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return []mapped(nil) },
		Step: func(state, input, output any) (bool, any) {
			return step(state.([]mapped), input.(request), output.(reply))
		},
		Equal: func(a, b any) bool { return slices.Equal(a.([]mapped), b.([]mapped)) },
		DescribeOperation: func(input, output any) string {
			return fmt.Sprintf("%+v → %+v", input, output)
		},
		DescribeState: func(state any) string { return fmt.Sprintf("%+v", state) },
	}
}

// step is one request done on its own. Of one without an answer it may have been done,
// or be refused; that it was never done is the same as being done after all others.
func step(state []mapped, in request, out reply) (bool, []mapped) {
	at := slices.IndexFunc(state, func(m mapped) bool { return m.label == in.label })
	switch in.verb {
	case "get":
		if at < 0 {
			return out.told == "ended", state
		}
		return out == reply{"done", state[at]}, state
	case "route":
		return out.mapped == routed(state, in), state
	case "delete":
		if at >= 0 {
			state = slices.Delete(slices.Clone(state), at, at+1)
		}
		return out.told != "conflict" && out.told != "ended", state
	}
	want := in.mapped
	if in.verb != "create" {
		if at < 0 {
			return out.told == "ended" || out.told == "", state
		}
		want = state[at]
		if in.verb == "move" {
			want.number = in.number
		} else {
			want.from, want.to = in.from, in.to
		}
	}
	if slices.ContainsFunc(state, want.clashes) {
		return out.told == "conflict" || out.told == "", state
	}
	state = slices.Clone(state)
	if at >= 0 {
		state[at] = want
	} else {
		state = append(state, want)
		slices.SortFunc(state, func(a, b mapped) int { return a.label - b.label })
	}
	return out.told == "done" || out.told == "", state
}

// routed is whom a call reaches: the other side of the one allocation that the caller
// may call through.
func routed(state []mapped, in request) (found mapped) {
	for _, m := range state {
		switch {
		case m.number != in.number || m.callers()&in.from == 0:
		case m.from&in.from != 0:
			return mapped{label: m.label, to: m.to}
		default:
			return mapped{label: m.label, to: m.from}
		}
	}
	return mapped{}
}

// never is when something ends that got no answer.
const never = math.MaxInt64

func TestAHistoryIsGoodIfOneOrderExplainsItAndOnlyThen(t *testing.T) {
	ask := func(verb string, label, number int, from, to people) request {
		return request{verb, mapped{label: label, number: number, from: from, to: to}}
	}
	op := func(from, to int64, in request, told string, found mapped) porcupine.Operation {
		return porcupine.Operation{Call: from, Return: to, Input: in, Output: reply{told, found}}
	}
	const anna, bert, cleo = 1, 2, 4
	made := op(1, 2, ask("create", 1, 0, anna, bert), "done", mapped{})
	perhaps := op(1, never, ask("create", 1, 0, anna, bert), "", mapped{})
	deleted := op(3, 4, ask("delete", 1, 0, 0, 0), "done", mapped{})
	reaches := func(from, to int64) porcupine.Operation {
		return op(from, to, ask("route", 0, 0, anna, 0), "done", mapped{label: 1, to: bert})
	}
	nobody := func(from, to int64) porcupine.Operation {
		return op(from, to, ask("route", 0, 0, anna, 0), "done", mapped{})
	}
	for name, h := range map[string]struct {
		good bool
		ops  []porcupine.Operation
	}{
		"what was made routes until it is deleted":        {true, []porcupine.Operation{made, reaches(3, 4), op(5, 8, ask("delete", 1, 0, 0, 0), "done", mapped{}), reaches(6, 7), nobody(9, 10)}},
		"what was made is lost":                           {false, []porcupine.Operation{made, nobody(3, 4)}},
		"what was deleted still routes":                   {false, []porcupine.Operation{made, deleted, reaches(5, 6)}},
		"a call reaches somebody else":                    {false, []porcupine.Operation{made, op(3, 4, ask("route", 0, 0, anna, 0), "done", mapped{label: 1, to: cleo})}},
		"two on one exclusive number":                     {false, []porcupine.Operation{op(1, 2, ask("create", 1, 2, anna, bert), "done", mapped{}), op(1, 2, ask("create", 2, 2, cleo, 8), "done", mapped{})}},
		"one caller in two allocations of a number":       {false, []porcupine.Operation{made, op(1, 4, ask("create", 2, 0, cleo, anna), "done", mapped{})}},
		"refused because of one that comes at once":       {true, []porcupine.Operation{op(1, 6, ask("create", 1, 0, anna, bert), "done", mapped{}), op(1, 2, ask("create", 2, 0, cleo, anna), "conflict", mapped{})}},
		"refused though nobody is there":                  {false, []porcupine.Operation{made, deleted, op(5, 6, ask("create", 2, 0, cleo, anna), "conflict", mapped{})}},
		"no answer, and it never took place":              {true, []porcupine.Operation{perhaps, nobody(3, 4), nobody(5, 6)}},
		"no answer, and it took place late":               {true, []porcupine.Operation{perhaps, nobody(3, 4), reaches(5, 6)}},
		"no answer, and it comes and goes":                {false, []porcupine.Operation{perhaps, reaches(3, 4), nobody(5, 6)}},
		"no answer to a move, seen at the new number":     {true, []porcupine.Operation{made, op(3, never, ask("move", 1, 1, 0, 0), "", mapped{}), reaches(4, 5), nobody(6, 7)}},
		"half moved: at both numbers":                     {false, []porcupine.Operation{made, op(3, 4, ask("move", 1, 1, 0, 0), "done", mapped{}), reaches(5, 6)}},
		"changed after its end":                           {false, []porcupine.Operation{made, deleted, op(5, 6, ask("parties", 1, 0, anna, cleo), "done", mapped{})}},
		"an allocation is read as it was before a change": {false, []porcupine.Operation{made, op(3, 4, ask("parties", 1, 0, anna, cleo), "done", mapped{}), op(5, 6, ask("get", 1, 0, 0, 0), "done", mapped{label: 1, from: anna, to: bert})}},
	} {
		want := porcupine.Illegal
		if h.good {
			want = porcupine.Ok
		}
		if got := porcupine.CheckOperationsTimeout(claims(), h.ops, time.Minute); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// some draws a set of one or two of the people that are not in without.
func some(draw func(int) int, without people) (p people) {
	for range 1 + draw(2) {
		if one := people(1) << draw(groupPeople); one&without == 0 {
			p |= one
		}
	}
	if p == 0 {
		return people(1) << bits.TrailingZeros8(uint8(^without))
	}
	return p
}
