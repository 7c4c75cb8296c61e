/* The programs that run in a task, as one unit: they share two optional kernel functions
 * (bpf_preempt_disable, bpf_preempt_enable), and the linker of libbpf 1.1 refuses an external function
 * that two units name ("failed to resolve size of underlying type"). */
#include "process.bpf.c"
#include "socket.bpf.c"
#include "strict.bpf.c"
#include "tls.bpf.c"
#include "go.bpf.c"
#include "gnutls.bpf.c"
