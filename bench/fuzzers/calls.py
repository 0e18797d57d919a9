from fuzzers.runner import Fuzzer
FUZZER=Fuzzer(None,())
