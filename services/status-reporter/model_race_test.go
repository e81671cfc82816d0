//go:build race

package statusreporter

// crashes is how many crashes the model explores. The race detector takes ten times as long.
const crashes = 1
