package masking

import (
	"slices"

	"tandem/internal/e164"
)

// RingStrategy says in which order the numbers of a side are rung.
type RingStrategy string

// The strategies.
const (
	Sequential   RingStrategy = "sequential"   // one after the other as they stand in the list; the default
	Simultaneous RingStrategy = "simultaneous" // all at once; the first to answer has the call
	RoundRobin   RingStrategy = "round_robin"  // one after the other, beginning behind whom the call before began with
	StickyLast   RingStrategy = "sticky_last"  // whoever answered last first, then the others as they stand
)

// RingStrategies are all there are.
var RingStrategies = []RingStrategy{Sequential, Simultaneous, RoundRobin, StickyLast}

// Turn is what calls of one direction have left behind for the next one. It is
// written with the records of those calls, in the same transactions. Of two calls
// that come within the moment that this takes, both may begin with the same number.
type Turn struct {
	Began    e164.Number // whom the last call was to ring first; zero: there was none
	Answered e164.Number // who took up the last call that was taken up
}

// Turn is that of calls in a direction.
func (a Allocation) Turn(d Direction) Turn {
	if d == ToCalls {
		return a.FromTurn
	}
	return a.ToTurn
}

// Order puts the numbers of a side into the order in which they are rung. A number
// of the turn that has left the side since changes nothing.
func (s RingStrategy) Order(side []e164.Number, t Turn) []e164.Number {
	switch i := slices.Index(side, t.Answered); {
	case s == RoundRobin:
		next := slices.Index(side, t.Began) + 1 // 0: nobody's turn was last
		return slices.Concat(side[next%max(1, len(side)):], side[:next%max(1, len(side))])
	case s == StickyLast && i > 0:
		return slices.Concat(side[i:i+1], side[:i], side[i+1:])
	}
	return side
}
