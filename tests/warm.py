"Imported once by the server from which test_resume forks its processes."
import killed

killed.warm()
